"""What is measured, and what it is measured against: one function for each row group of the table.

A function takes the session and yields rows. It prepares what it needs outside the timed calls, and removes what
takes much space. A goal is a ratio (Kiln's time over the peer's), seconds, or bytes.
"""

import json
import shutil
from dataclasses import dataclass

import catalogue
import disks
import peers
from kiln import OTHER_REGIONS
from timing import Series, Way, interleaved, own_cpu, process_cpu

MIB, GIB = 1 << 20, 1 << 30
CHANGE_BYTES = 100 * MIB
ROOT_DISKS = 100
MEMORY_GOAL_BYTES = 256 * MIB
REQUESTS = 5000
CONNECTIONS = 16
CATALOGUES = (10_000, 100_000)


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


def imports(session):
    """A new image, then the same image again."""
    system, server = session.system, session.server
    url = f"{session.web}/{system.image.name}"
    accounts = [server.account(f"import-{number}") for number in range(session.repeats)]
    raw, compressed = session.work / "convert.raw", session.work / "convert.qcow2"
    # Made beforehand, for its length.
    compressed_bytes = system.compressed.stat().st_size
    before = server.stored_bytes()
    series = interleaved(
        session.repeats,
        clean=lambda: remove(raw, compressed),
        kiln=served(server, lambda number: accounts[number].import_image(url, "first")),
        raw=tool(lambda _: peers.to_raw(system.image, raw)),
        compressed=tool(lambda _: peers.to_compressed(system.image, compressed)),
    )
    stored = (server.stored_bytes() - before) // session.repeats
    note = f"{mb(system.data_bytes)} of data kept in {mb(stored)}; by the second peer in {mb(compressed_bytes)}"
    yield Row("import", series["kiln"], series["raw"], "qemu-img convert to raw, fsync", ratio_goal=2.0, note=note)
    peer = "qemu-img convert to zstd qcow2, fsync"
    yield Row("import", series["kiln"], series["compressed"], peer, ratio_goal=0.4)

    before = server.stored_bytes()
    again = served(server, lambda number: accounts[number].import_image(url, "second"))
    again = interleaved(session.repeats, again=again)["again"]
    note = f"{mb((server.stored_bytes() - before) // session.repeats)} new in the store"
    yield Row("import again", again, series["compressed"], "the same again", note=note)


def creates(session):
    """CreateImage of an instance that wrote 100 MB, on a small and on a large base."""
    account = session.server.account("create")
    small = account.import_image(f"{session.web}/{session.small_base.name}", "base")
    yield create_on(session, session.server, account, small, session.small_base)
    session.start_large()
    yield create_on(session, session.large_server, session.large_account, session.large_image, session.large_base)


def create_on(session, server, account, image, base):
    instance = account.launch_and_stop(image)
    overlay, flat = server.overlay(instance), session.work / "flat.qcow2"
    before = server.stored_bytes()

    def change_and_create(number):
        disks.change_overlay(overlay, session.system.raw, CHANGE_BYTES, 10 + number, session.work / "pieces")
        return lambda: account.create_image(instance, f"created-{number}")

    series = interleaved(
        session.repeats,
        clean=lambda: remove(flat),
        kiln=Way(change_and_create, lambda: process_cpu(server.process.pid)),
        peer=tool(lambda _: peers.flatten(overlay, base, flat)),
    )
    new = (server.stored_bytes() - before) // session.repeats
    account.terminate(instance)
    name = f"CreateImage, {mb(CHANGE_BYTES)} changed, base of {disks.allocated_bytes(base) / 1e9:.1f} GB"
    peer_name = "qemu-img convert to a full qcow2, fsync"
    return Row(name, series["kiln"], series["peer"], peer_name, seconds_goal=1.0, note=f"{mb(new)} new in the store")


def root_disks(session):
    """Root disks, as a launch prepares them: overlay, seed, and the base's export."""
    session.stored_system()
    program = session.example("root_disks", "kiln")
    arguments = [session.server.store_dir(), session.manifest_of_stored_system()]
    made = session.work / "roots"

    def prepared(work):
        def prepare(_):
            made.mkdir()
            return work

        return Way(prepare, own_cpu)

    def create_overlays():
        for disk in range(ROOT_DISKS):
            peers.create_overlay(session.system.image, made / f"{disk}.qcow2")

    series = interleaved(
        session.repeats,
        clean=lambda: shutil.rmtree(made),
        kiln=prepared(lambda: peers.run(program, *arguments, made, str(ROOT_DISKS))),
        peer=prepared(create_overlays),
    )
    note = "overlay, seed and NBD export of each; without the catalogue and QEMU"
    peer = f"qemu-img create -b, {ROOT_DISKS} times"
    yield Row(f"{ROOT_DISKS} root disks", series["kiln"], series["peer"], peer, seconds_goal=2.0, note=note)


def reads(session):
    """The whole image over NBD."""
    url = session.server.export_url(session.stored_system())
    with peers.qemu_nbd(session.system.compressed, session.work / "peer.sock") as (peer_url, peer_pid):
        ways = {"kiln": reader(url, session.server.process.pid), "peer": reader(peer_url, peer_pid)}
        series = interleaved(session.repeats, **ways)
    rate = session.system.data_bytes / series["kiln"].median / 1e6
    note = f"{rate:.0f} MB/s, every chunk verified"
    peer = "the same of qemu-nbd on the zstd qcow2"
    yield Row("read all over NBD (nbdcopy)", series["kiln"], series["peer"], peer, ratio_goal=1.0, note=note)


def reader(url: str, server_pid: int) -> Way:
    return Way(lambda _: lambda: peers.read_nbd(url), lambda: own_cpu() + process_cpu(server_pid))


def formats(session):
    """Each format read end to end into a sparse raw file."""
    image, ours, theirs = (session.work / name for name in ("format.image", "ours.raw", "theirs.raw"))
    for name, (source_format, _) in peers.FORMATS.items():
        peers.to_format(session.system.image, image, name)
        series = interleaved(
            session.repeats,
            clean=lambda: remove(ours, theirs),
            kiln=tool(lambda _: peers.run(session.binary, "image", "convert", "--format", "raw", image, ours)),
            peer=tool(lambda _: peers.to_raw(image, theirs, source_format)),
        )
        note = f"a file of {mb(disks.allocated_bytes(image))}"
        peer = "qemu-img convert to raw, fsync"
        yield Row(f"read {name}", series["kiln"], series["peer"], peer, ratio_goal=1.0, note=note)
        remove(image)


def copies(session):
    """A copy in another region, against copies of the image's file."""
    image, system, server = session.stored_system(), session.system, session.server
    regions = OTHER_REGIONS[: session.repeats]
    sources = system.raw, system.compressed
    copied = session.work / "copy"
    series = interleaved(
        len(regions),
        clean=lambda: remove(copied),
        kiln=served(server, lambda number: session.owner.copy_image(image, regions[number])),
        raw=tool(lambda _: peers.copy_sparse(sources[0], copied)),
        compressed=tool(lambda _: peers.copy_object(sources[1], copied)),
    )
    note = f"{mb(server.stored_bytes(regions[0]))} moved, every chunk verified"
    yield Row("copy to another region", series["kiln"], series["raw"], "cp --sparse=always of raw, fsync", note=note)
    yield Row("copy to another region", series["kiln"], series["compressed"], "copy of the zstd qcow2, fsync")


def memory(session):
    """The server's peak memory, and the time, for the largest disk that the limits allow."""
    series, peak = session.start_large()
    virtual, data = session.large_base.stat().st_size, disks.allocated_bytes(session.large_base)
    note = f"{data / 1e9:.1f} GB of data all over it; took {series.median:.1f} s"
    name = f"peak memory, import of {virtual // GIB} GiB"
    yield Row(name, found_bytes=peak, bytes_goal=MEMORY_GOAL_BYTES, note=note, peer_name="(VmHWM of the server)")


def requests(session):
    """Signed DescribeImages, as many as are to be answered in a second, with few and with many images in the catalogue."""
    program = session.example("describe_load", "kiln")
    server = session.new_server("requests", "[api]\nrequests_per_second = 1000000\n")
    account = server.account("asker")
    image = account.import_image(f"{session.web}/{session.small_base.name}", "one")
    found = {}
    for count in CATALOGUES:
        server.pause()
        catalogue.fill(server.data_dir, image, count)
        server.start()
        found[count] = ask(session, program, server, account.credential)
    for count, (whole, most) in found.items():
        note = f"{REQUESTS / whole.median:.0f} a second over {CONNECTIONS} connections; asker and server share the cores"
        name = f"{REQUESTS} DescribeImages, {count} images"
        first = found[CATALOGUES[0]][0] if count != CATALOGUES[0] else None
        goal = {"ratio_goal": 1.1, "peer_name": f"the same with {CATALOGUES[0]} images"} if first else {}
        yield Row(name, whole, first, seconds_goal=REQUESTS / 5000, note=note, **goal)
        yield Row("    99 of 100 of them", most, seconds_goal=0.02)


def ask(session, program, server, key) -> tuple[Series, Series]:
    """How long all answers took together, and below what 99 of 100 stayed."""
    whole, most = Series(), Series()
    arguments = [server.endpoint, key.secretId, key.secretKey, str(REQUESTS), str(CONNECTIONS)]
    # The first one warms the server's caches.
    for number in range(session.repeats + 1):
        cpu = process_cpu(server.process.pid)
        answered = json.loads(peers.run(program, *arguments))
        if number > 0:
            whole.add(answered["seconds"], process_cpu(server.process.pid) - cpu)
            most.add(answered["most_below"], 0)
    return whole, most


def served(server, work) -> Way:
    """Work that a server does; `work` gets the run's number."""
    return Way(lambda number: lambda: work(number), lambda: process_cpu(server.process.pid))


def tool(work) -> Way:
    """Work that a tool does; `work` gets the run's number."""
    return Way(lambda number: lambda: work(number), own_cpu)


def remove(*paths):
    for path in paths:
        path.unlink(missing_ok=True)


def mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


ROWS = {
    "import": imports,
    "create": creates,
    "root-disks": root_disks,
    "read": reads,
    "formats": formats,
    "copy": copies,
    "memory": memory,
    "requests": requests,
}
