"""What is measured, and what it is measured against: one function for each row group of the table.

A function takes the bench and yields rows. It prepares what it needs outside the timed calls, and removes what takes
much space. A goal is either a ratio (Kiln's time over the peer's), seconds, or bytes.
"""

import shutil
from dataclasses import dataclass

import disks
import peers
from kiln import OTHER_REGIONS
from timing import Series, interleaved

MIB, GIB = 1 << 20, 1 << 30
CHANGE_BYTES = 100 * MIB
ROOT_DISKS = 100
MEMORY_GOAL_BYTES = 256 * MIB


@dataclass
class Row:
    """One line of the table."""

    name: str
    kiln: Series | None = None
    peer: Series | None = None
    peer_name: str = ""
    # Upper bounds; each that is given must hold.
    ratio_goal: float | None = None
    seconds_goal: float | None = None
    note: str = ""
    # For what is no time: found and allowed, in bytes.
    found_bytes: int | None = None
    bytes_goal: int | None = None

    @property
    def ratio(self) -> float | None:
        return self.kiln.median / self.peer.median if self.kiln and self.peer else None

    @property
    def passed(self) -> bool | None:
        """Whether all goals are met; nothing where there are none."""
        checks = []
        if self.ratio_goal is not None:
            checks.append(self.ratio <= self.ratio_goal)
        if self.seconds_goal is not None:
            checks.append(self.kiln.median <= self.seconds_goal)
        if self.bytes_goal is not None:
            checks.append(self.found_bytes <= self.bytes_goal)
        return all(checks) if checks else None


def imports(bench):
    """A new image, then the same image again."""
    system, server, web = bench.system, bench.server, bench.web
    url = f"{web}/{system.image.name}"
    accounts = [server.account(f"import-{number}") for number in range(bench.repeats)]
    before = server.stored_bytes()

    def kiln(number):
        return lambda: accounts[number].import_image(url, "first")

    def raw(number):
        return fresh(bench.work / "convert.raw", lambda path: peers.to_raw(system.image, path))

    def compressed(number):
        return fresh(bench.work / "convert.qcow2", lambda path: peers.to_compressed(system.image, path))

    series = interleaved(bench.repeats, kiln=kiln, raw=raw, compressed=compressed)
    stored = (server.stored_bytes() - before) // bench.repeats
    note = f"{mb(system.data_bytes)} of data kept in {mb(stored)}; qcow2 of qemu-img: "
    note += mb((bench.work / "convert.qcow2").stat().st_size)
    yield Row("import", series["kiln"], series["raw"], "qemu-img convert to raw, fsync", ratio_goal=2.0, note=note)
    peer = "qemu-img convert to zstd qcow2, fsync"
    yield Row("import", series["kiln"], series["compressed"], peer, ratio_goal=0.4)
    yield from repeated_import(bench, url, accounts, series["compressed"])


def repeated_import(bench, url, accounts, compressed):
    before = bench.server.stored_bytes()
    again = interleaved(bench.repeats, kiln=lambda n: lambda: accounts[n].import_image(url, "second"))["kiln"]
    new = (bench.server.stored_bytes() - before) // bench.repeats
    yield Row("import again", again, compressed, "the same convert again", note=f"{mb(new)} new in the store")


def creates(bench):
    """CreateImage of an instance that wrote 100 MB, on a small and on a large base."""
    account = bench.server.account("create")
    small = account.import_image(f"{bench.web}/{bench.small_base.name}", "base")
    yield create_on(bench, bench.server, account, small, bench.small_base)
    bench.start_large()
    yield create_on(bench, bench.large_server, bench.large_account, bench.large_image, bench.large_base)


def create_on(bench, server, account, image, base):
    instance = account.launch_and_stop(image)
    overlay = server.overlay(instance)
    before = server.stored_bytes()

    def kiln(number):
        disks.change_overlay(overlay, bench.system.raw, CHANGE_BYTES, 10 + number, bench.work / "pieces")
        return lambda: account.create_image(instance, f"created-{number}")

    def peer(number):
        return fresh(bench.work / "flat.qcow2", lambda path: peers.flatten(overlay, base, path))

    series = interleaved(bench.repeats, kiln=kiln, peer=peer)
    new = (server.stored_bytes() - before) // bench.repeats
    (bench.work / "flat.qcow2").unlink()
    account.terminate(instance)
    data = base.stat().st_blocks * 512
    name = f"CreateImage, {mb(CHANGE_BYTES)} changed, base of {data / 1e9:.1f} GB"
    peer_name = "qemu-img convert to a full qcow2, fsync"
    return Row(name, series["kiln"], series["peer"], peer_name, seconds_goal=1.0, note=f"{mb(new)} new in the store")


def root_disks(bench):
    """Root disks, as a launch prepares them: overlay, seed, and the base's export."""
    image = bench.stored_system()
    manifest = bench.manifest_of_stored_system()
    tool = bench.example("root_disks", "kiln-service")
    base = bench.system.image

    def kiln(number):
        def work(directory):
            peers.run(tool, bench.server.store_dir(), manifest, directory, str(ROOT_DISKS))

        return fresh_directory(bench.work / "roots", work)

    def peer(number):
        def work(directory):
            for disk in range(ROOT_DISKS):
                peers.create_overlay(base, directory / f"{disk}.qcow2")

        return fresh_directory(bench.work / "overlays", work)

    series = interleaved(bench.repeats, kiln=kiln, peer=peer)
    note = f"overlay, seed and NBD export of each, of image {image}; without the catalogue and QEMU"
    shutil.rmtree(bench.work / "roots")
    shutil.rmtree(bench.work / "overlays")
    yield Row(f"{ROOT_DISKS} root disks", series["kiln"], series["peer"], "qemu-img create -b, 100 times",
              seconds_goal=2.0, note=note)  # fmt: skip


def reads(bench):
    """The whole image over NBD."""
    url = bench.server.export_url(bench.stored_system())
    socket = bench.work / "peer.sock"
    with peers.qemu_nbd(bench.system.compressed, socket) as peer_url:
        series = interleaved(
            bench.repeats, kiln=lambda _: lambda: peers.read_nbd(url), peer=lambda _: lambda: peers.read_nbd(peer_url)
        )
    rate = bench.system.data_bytes / series["kiln"].median / 1e6
    yield Row("read all over NBD (nbdcopy)", series["kiln"], series["peer"], "qemu-nbd on the zstd qcow2",
              ratio_goal=1.0, note=f"{rate:.0f} MB/s, every chunk verified")  # fmt: skip


def copies(bench):
    """A copy in another region, against copies of the image's file."""
    image, account, system = bench.stored_system(), bench.owner, bench.system
    regions = OTHER_REGIONS[: bench.repeats]

    def kiln(number):
        return lambda: account.copy_image(image, regions[number])

    def raw(number):
        return fresh(bench.work / "copy.raw", lambda path: peers.copy_sparse(system.raw, path))

    def compressed(number):
        return fresh(bench.work / "copy.qcow2", lambda path: peers.copy_object(system.compressed, path))

    _ = system.raw, system.compressed
    series = interleaved(len(regions), kiln=kiln, raw=raw, compressed=compressed)
    note = f"{mb(bench.server.stored_bytes(regions[0]))} moved, every chunk verified"
    yield Row("copy to another region", series["kiln"], series["raw"], "cp --sparse=always of raw, fsync", note=note)
    yield Row("copy to another region", series["kiln"], series["compressed"], "copy of the zstd qcow2, fsync")


def memory(bench):
    """The server's peak memory, and the time, for the largest disk that the limits allow."""
    series, peak = bench.start_large()
    base = bench.large_base
    virtual, data = base.stat().st_size, base.stat().st_blocks * 512
    name = f"peak memory, import of {virtual // GIB} GiB"
    note = f"{data / 1e9:.1f} GB of data all over it; took {series.median:.1f} s"
    yield Row(name, found_bytes=peak, bytes_goal=MEMORY_GOAL_BYTES, note=note, peer_name="(VmHWM of the server)")


def fresh(path, work):
    """`work` on a file that is not there yet."""
    path.unlink(missing_ok=True)
    return lambda: work(path)


def fresh_directory(path, work):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return lambda: work(path)


def mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


ROWS = {
    "import": imports,
    "create": creates,
    "root-disks": root_disks,
    "read": reads,
    "copy": copies,
    "memory": memory,
}
