"""One run of the benchmark: its sizes, its disks, its servers, and where its files are.

Everything that is made lies in one directory under `.cache/`, which goes when the run ends; only disks that take long
to make are kept there.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import disks
import kiln
import web
from timing import Series, process_cpu

GIB = 1 << 30
MIB = 1 << 20


@dataclass
class Sizes:
    """How large the disks of a run are."""

    system_size: str
    system_packages: list[str]
    small_data_bytes: int
    large_virtual_bytes: int
    large_data_bytes: int


FULL = Sizes("10G", disks.SERVER_PACKAGES, 10**9, 50 * GIB, 10**10)
QUICK = Sizes("2G", [], 6 * 10**8, 8 * GIB, 10**9)


class Session:
    """What the rows work with. Disks and servers are made when they are first needed."""

    def __init__(self, binary: Path, sizes: Sizes, repeats: int, disk: Path | None):
        self.binary, self.sizes, self.repeats, self.disk = binary, sizes, repeats, disk
        self.resources = contextlib.ExitStack()
        self.large_server: kiln.Server | None = None
        self.made: dict[str, object] = {}

    def __enter__(self):
        disks.CACHE.mkdir(exist_ok=True)
        self.work = Path(tempfile.mkdtemp(prefix="bench-", dir=disks.CACHE))
        self.resources.callback(shutil.rmtree, self.work, ignore_errors=True)
        self.files = self.work / "www"
        self.files.mkdir()
        self.web = self.resources.enter_context(web.serve(self.files))
        return self

    def __exit__(self, *_):
        self.resources.close()

    def once(self, name: str, make):
        """What `make` answered when it was first asked for under that name."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def publish(self, path: Path) -> Path:
        """Puts a file where imports fetch it, without copying it."""
        link = self.files / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
        return path

    @property
    def system(self) -> disks.System:
        """The test disk."""

        def make():
            image = self.disk or disks.build_system(self.sizes.system_size, self.sizes.system_packages)
            return disks.System(self.publish(image), self.work)

        return self.once("system", make)

    @property
    def small_base(self) -> Path:
        """A raw system disk with little data."""

        def make():
            system = disks.System(disks.build_system("2G", []), self.work)
            grown = disks.grown(system, 3 * GIB, self.sizes.small_data_bytes)
            return self.publish(grown)

        return self.once("small", make)

    @property
    def large_base(self) -> Path:
        """A raw system disk with much data, of the largest virtual size that the limits allow."""

        def make():
            sizes = self.sizes
            return self.publish(disks.grown(self.system, sizes.large_virtual_bytes, sizes.large_data_bytes))

        return self.once("large", make)

    @property
    def server(self) -> kiln.Server:
        return self.once("server", lambda: self.new_server("kiln"))

    def new_server(self, name: str, configuration: str = "") -> kiln.Server:
        server = kiln.Server(self.binary, self.work / name, configuration)
        self.resources.callback(server.stop)
        return server

    def start_large(self) -> tuple[Series, int]:
        """Imports the large disk on a server of its own: how long it took, and the server's peak memory in bytes."""

        def make():
            base = self.large_base
            self.large_server = self.new_server("large")
            self.large_account = self.large_server.account("large")
            series, url = Series(), f"{self.web}/{base.name}"
            cpu = lambda: process_cpu(self.large_server.process.pid)  # noqa: E731
            self.large_image = series.run(lambda: self.large_account.import_image(url, "large"), cpu)
            return series, self.large_server.peak_memory_bytes()

        return self.once("large import", make)

    @property
    def owner(self) -> kiln.Account:
        """The account that owns the stored test disk."""
        return self.once("owner", lambda: self.server.account("owner"))

    def stored_system(self) -> str:
        """The test disk as an image of the server."""
        return self.once("image", lambda: self.owner.import_image(f"{self.web}/{self.system.image.name}", "stored"))

    def manifest_of_stored_system(self) -> str:
        """The name of the stored test disk's manifest: of all manifests of that disk, any is as good."""
        self.stored_system()
        manifests = (self.server.store_dir() / "manifests").glob("*/*")
        return max(manifests, key=lambda path: path.stat().st_size).name

    def example(self, name: str, package: str) -> Path:
        """The release build of one of the crates' examples."""

        def make():
            command = ["cargo", "build", "--quiet", "--release", "--locked", "-p", package, "--example", name]
            subprocess.run(command, cwd=disks.TOP, check=True)
            target = Path(os.environ.get("CARGO_TARGET_DIR", disks.TOP / "target"))
            return target / "release" / "examples" / name

        return self.once(f"example {name}", make)
