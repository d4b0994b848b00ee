"""What the tests share: the binary, servers that are gone when a test is, a host of files, the seed.

A tool or file that a test needs and that is missing fails the test; nothing is skipped.
"""

import contextlib
import os
import random
import re
import subprocess
from pathlib import Path

import pytest
from file_host import FileHost
from image_files import qcow2, system_disk
from kiln_server import KilnServer
from xdist.scheduler import LoadScopeScheduling

# Imports may fetch from this machine, limits do not get in the way, and garbage goes when a test says so.
CONFIG = """
[transfer]
allow_private = ["127.0.0.1/32"]

[limits]
preset = "current"

[instances]
power_off_grace_seconds = 240

[[instance_types]]
name = "S5.SMALL1"
vcpus = 1
memory_gib = 0.5
"""
# Most tests import disks with a file system and no system on it, which the import policy is told to let in.
BARE_DISKS = "[import.criteria]\n" + "".join(
    f'{criterion} = "off"\n'
    for criterion in (
        "RootFileSystem System OsTypeAgrees OsVersionAgrees ArchitectureAgrees VirtioBlock VirtioNet CloudInit "
        "OtherInterfaces StaticIpv6 License"
    ).split()
)
SEED = int(os.environ.get("KILN_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
# Those that run beside this process (pytest-xdist) make the same choices.
os.environ["KILN_TEST_SEED"] = str(SEED)
LOG_LINES = 80


@pytest.fixture(scope="session")
def kiln_binary():
    return named_file("KILN_BINARY", "cargo build -p kiln")


@pytest.fixture(scope="session")
def guest_image():
    """A real Debian image that boots."""
    return named_file("KILN_GUEST_IMAGE", "scripts/build-guest-image")


def named_file(variable, made_by):
    path = Path(os.environ.get(variable) or pytest.fail(f"{variable} is not set; it names what `{made_by}` makes"))
    assert path.is_file(), f"{variable} names {path}, which is not there; `{made_by}` makes it"
    return path.absolute()


@pytest.fixture(scope="module")
def make_server(kiln_binary):
    """Makes servers, which are gone when the module's tests are."""
    servers = []

    def make(config=CONFIG + BARE_DISKS, **options):
        servers.append(KilnServer(kiln_binary, config, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.remove()


@pytest.fixture(scope="module")
def server(make_server):
    """A running server."""
    return make_server().start()


@pytest.fixture(scope="module")
def operator(server):
    return server.operator()


@pytest.fixture(scope="module")
def alice(server):
    """An account that may import."""
    return server.create_account("alice")


@pytest.fixture(scope="module")
def bob(server):
    """Another account, which may not."""
    return server.create_account("bob", allow_import=False)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A directory that `host` serves."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def host(files):
    host = FileHost(files)
    yield host
    host.close()


@pytest.fixture(scope="module")
def debian(alice, guest_image):
    """The real image, imported by URL."""
    host = FileHost(guest_image.parent)
    try:
        return alice.imported(host.url(guest_image.name), "debian-12")
    finally:
        host.close()


@pytest.fixture(scope="session")
def small_disk(files):
    """A small system disk, raw; the same is served as small.qcow2."""
    disk = system_disk(files / "small.raw", seed=1)
    qcow2(disk)
    return disk


@contextlib.contextmanager
def file_system(room, mib):
    """A file system of its own with room for little; mounting needs root or sudo."""
    room.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    options = f"size={mib}m,mode=0700,uid={os.getuid()}"
    subprocess.run([*as_root, "mount", "-t", "tmpfs", "-o", options, "kiln-test", room], check=True)
    try:
        yield room
    finally:
        subprocess.run([*as_root, "umount", "--lazy", room], check=True)


@pytest.fixture
def small_room(tmp_path):
    """A file system of its own with room for one small image."""
    with file_system(tmp_path / "room", 64) as room:
        yield room


@pytest.fixture(scope="session")
def seed():
    """Decides everything that is random."""
    return SEED


def pytest_report_header():
    return f"KILN_TEST_SEED={SEED} repeats this run's random choices"


def boots_guests(file):
    """Whether a test of the file boots a guest."""
    return re.search(r"(?m)^ *def .*\b(guest_image|debian)\b", Path(__file__).with_name(file).read_text())


class FilesAtOnce(LoadScopeScheduling):
    """Files run beside each other. The first process begins with those that boot guests, which take longest; the others
    begin with the rest, and take part in the guests once nothing else is left."""

    def _split_scope(self, nodeid):
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node):
        booting = [file for file in self.workqueue if boots_guests(Path(file).name)]
        wanted = booting if node is self.nodes[0] else [file for file in self.workqueue if file not in booting]
        if wanted:
            self.workqueue.move_to_end(wanted[0], last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config, log):
    return FilesAtOnce(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Shows with a failure what the servers said, and the seed."""
    report = yield
    if report.failed:
        report.sections.append(("random choices", f"KILN_TEST_SEED={SEED}"))
        for server in servers_of(item):
            lines = server.log.read_text(errors="replace").splitlines() if server.log.exists() else []
            report.sections.append((f"end of {server.log.name}", "\n".join(lines[-LOG_LINES:])))
    return report


def servers_of(item):
    values = [getattr(value, "server", value) for value in getattr(item, "funcargs", {}).values()]
    return {id(value): value for value in values if isinstance(value, KilnServer)}.values()
