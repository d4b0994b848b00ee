"""What is measured of buckets: an import from one against one by HTTP, an upload against a copy, exports against
`qemu-img convert`. Goals are those of the issue that asked for buckets.
"""

import os

import peers
from rows import MEMORY_GOAL_BYTES, Row, remove, served, tool
from timing import Way, interleaved, own_cpu, process_cpu

BUCKET = "bench"
# What ExportFormat says, what qemu-img calls it, and what it is then told.
EXPORTS = {
    "RAW": ("raw", []),
    "QCOW2": ("qcow2", []),
    "VHD": ("vpc", ["-o", "force_size=on"]),
    "VMDK": ("vmdk", ["-o", "subformat=streamOptimized"]),
}


class Bucket:
    """A bucket of an account's, by the command line client."""

    def __init__(self, server, account):
        self.binary = server.binary
        self.environment = {
            **os.environ,
            "KILN_ENDPOINT": f"http://{server.endpoint}",
            "TENCENTCLOUD_SECRET_ID": account.credential.secretId,
            "TENCENTCLOUD_SECRET_KEY": account.credential.secretKey,
        }
        self.name = self.run("bucket", "create", BUCKET).strip()

    def run(self, *arguments) -> str:
        return peers.run(self.binary, *arguments, env=self.environment)

    def put(self, path, key: str):
        self.run("object", "put", path, f"{self.name}/{key}")

    def delete(self, key: str):
        self.run("object", "delete", f"{self.name}/{key}")


def bucket_imports(session):
    """The same file from a bucket and from an HTTP server, each time by an account that has nothing yet."""
    image, server = session.system.image, session.server
    accounts = [server.account(f"bucket-import-{number}") for number in range(session.repeats)]
    others = [server.account(f"http-import-{number}") for number in range(session.repeats)]
    buckets = [Bucket(server, account) for account in accounts]
    for bucket in buckets:
        bucket.put(image, image.name)
    urls = [f"s3://{bucket.name}/{image.name}" for bucket in buckets]
    series = interleaved(
        session.repeats,
        kiln=served(server, lambda number: accounts[number].import_image(urls[number], "from a bucket")),
        peer=served(server, lambda number: others[number].import_image(f"{session.web}/{image.name}", "by HTTP")),
    )
    for bucket in buckets:
        bucket.delete(image.name)
    peer = "Kiln's import of the same file by loopback HTTP"
    yield Row("import from a bucket", series["kiln"], series["peer"], peer, ratio_goal=1.0)


def uploads(session):
    """`kiln object put` of the test disk's file."""
    image, server = session.system.image, session.server
    bucket, copied, keys = Bucket(server, server.account("upload")), session.work / "copied", []

    def put():
        bucket.put(image, "disk")
        keys.append("disk")

    def clean():
        while keys:
            bucket.delete(keys.pop())
        remove(copied)

    series = interleaved(
        session.repeats,
        clean=clean,
        kiln=Way(lambda _: put, lambda: own_cpu() + process_cpu(server.process.pid)),
        peer=tool(lambda _: peers.copy(image, copied)),
    )
    note = f"{image.stat().st_size / series['kiln'].median / 1e6:.0f} MB/s; client and server share the cores"
    yield Row("upload", series["kiln"], series["peer"], "cp, fsync", ratio_goal=1.5, note=note)


def exports(session):
    """ExportImages in every format, until the task has ended, on a server whose memory is looked at afterwards."""
    server = session.new_server("exports")
    account = server.account("exporter")
    image = account.import_image(f"{session.web}/{session.system.image.name}", "exported")
    # So that the import is not in its peak.
    server.pause()
    server.start()
    bucket, converted = Bucket(server, account), session.work / "converted"
    for name, (form, options) in EXPORTS.items():
        keys = []

        def clean():
            while keys:
                bucket.delete(keys.pop())
            remove(converted)

        series = interleaved(
            session.repeats,
            clean=clean,
            kiln=served(server, lambda _: keys.append(account.export_image(image, bucket.name, name))),
            peer=tool(lambda _: peers.convert(session.system.image, converted, form, options)),
        )
        peer = f"qemu-img convert to {form}{', streamOptimized' if name == 'VMDK' else ''}, fsync"
        yield Row(f"export {name}", series["kiln"], series["peer"], peer, ratio_goal=1.2)
    peak = server.peak_memory_bytes()
    yield Row("peak memory, exports", found_bytes=peak, bytes_goal=MEMORY_GOAL_BYTES, peer_name="(VmHWM of the server)")
    server.stop()


ROWS = {"bucket-import": bucket_imports, "upload": uploads, "export": exports}
