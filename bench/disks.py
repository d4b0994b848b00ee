"""The disks that are measured with: real systems, made from Debian's packages and kept in `.cache/`.

A *grown* disk is a system disk with a second partition full of more data of the same kind: pieces of the system's own
data, with eight bytes of every page changed, so that nothing is stored twice and everything compresses as it did.
"""

import json
import os
import subprocess
from pathlib import Path

from peers import run, sync, to_compressed, to_raw

TOP = Path(__file__).resolve().parent.parent
CACHE = TOP / ".cache"

MIB, GIB = 1 << 20, 1 << 30
PAGE_BYTES = 4096
PIECE_BYTES = MIB
SECTOR_BYTES = 512
PARTITION_TABLE, PARTITION_ENTRY_BYTES = 446, 16
LINUX_PARTITION = 0x83

# What a server for developers has: about 2.2 GB of programs, libraries and data, without documentation.
SERVER_PACKAGES = [
    "build-essential", "openjdk-17-jdk-headless", "libreoffice-core-nogui", "postgresql-15", "mariadb-server-core",
    "python3-scipy", "python3-pandas", "git", "emacs-nox", "r-base-core", "nginx",
]  # fmt: skip


def build_system(size: str, packages: list[str]) -> Path:
    """A bootable Debian 12 as uncompressed qcow2; a second call finds the first one's."""
    command = [TOP / "scripts/build-guest-image", "--size", size]
    for package in packages:
        command += ["--package", package]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(built.stdout.strip())


class System:
    """A system disk in the forms that tools take it in; each form is made when it is first asked for."""

    def __init__(self, image: Path, work: Path):
        self.image, self.work = image, work

    @property
    def raw(self) -> Path:
        return self.form("raw", to_raw)

    @property
    def compressed(self) -> Path:
        return self.form("zstd.qcow2", to_compressed)

    def form(self, suffix: str, convert) -> Path:
        path = self.work / f"{self.image.stem}.{suffix}"
        if not path.exists():
            convert(self.image, path)
        return path

    @property
    def virtual_bytes(self) -> int:
        return virtual_bytes(self.image)

    @property
    def data_bytes(self) -> int:
        return allocated_bytes(self.raw)


def allocated_bytes(path: Path) -> int:
    """What a sparse file holds."""
    return path.stat().st_blocks * 512


def virtual_bytes(image: Path) -> int:
    return json.loads(run("qemu-img", "info", "--output", "json", image))["virtual-size"]


def data_extents(raw: Path) -> list[tuple[int, int]]:
    """Start and end of the ranges of a sparse file that hold data."""
    extents = []
    descriptor = os.open(raw, os.O_RDONLY)
    try:
        end, size = 0, os.fstat(descriptor).st_size
        while end < size:
            try:
                start = os.lseek(descriptor, end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            extents.append((start, end))
    finally:
        os.close(descriptor)
    return extents


def pieces(raw: Path, seed: int):
    """Endless new pieces of `PIECE_BYTES`, like those of `raw` and equal to none of them."""
    starts = [at for start, end in data_extents(raw) for at in range(start, end - PIECE_BYTES + 1, PIECE_BYTES)]
    page = seed << 40
    with raw.open("rb") as file:
        while True:
            for start in starts:
                file.seek(start)
                piece = bytearray(file.read(PIECE_BYTES))
                for at in range(0, PIECE_BYTES, PAGE_BYTES):
                    page += 1
                    piece[at : at + 8] = page.to_bytes(8, "little")
                yield bytes(piece)


def grown(system: System, size_bytes: int, data_bytes: int) -> Path:
    """`system` as a raw disk of `size_bytes` with about `data_bytes` of data all over it. Kept in `.cache/`."""
    path = CACHE / f"grown-{system.image.stem}-{size_bytes // GIB}g-{data_bytes // MIB}m.raw"
    if path.exists():
        return path
    unfinished = path.with_suffix(".unfinished")
    to_raw(system.image, unfinished)
    os.truncate(unfinished, size_bytes)
    first, count = system.virtual_bytes, size_bytes - system.virtual_bytes
    with unfinished.open("r+b") as disk:
        add_partition(disk, first, count)
        wanted = max(0, data_bytes - allocated_bytes(unfinished)) // PIECE_BYTES
        step = count // max(1, wanted) // PAGE_BYTES * PAGE_BYTES
        source = pieces(system.raw, seed=1)
        for number in range(wanted):
            disk.seek(first + number * step)
            disk.write(next(source))
    sync(unfinished)
    unfinished.rename(path)
    return path


def add_partition(disk, first_bytes: int, count_bytes: int):
    """Enters a second partition in the boot record."""
    entry = bytes([0, 0xFE, 0xFF, 0xFF, LINUX_PARTITION, 0xFE, 0xFF, 0xFF])
    entry += (first_bytes // SECTOR_BYTES).to_bytes(4, "little") + (count_bytes // SECTOR_BYTES).to_bytes(4, "little")
    disk.seek(PARTITION_TABLE + PARTITION_ENTRY_BYTES)
    disk.write(entry)


def change_overlay(overlay: Path, like: Path, change_bytes: int, seed: int, scratch: Path):
    """Writes `change_bytes` of new data into an instance's overlay, in runs of 1 MiB all over the disk.

    qemu-io writes it: the file is qcow2, and whole clusters need no look at the layer below.
    """
    count = change_bytes // PIECE_BYTES
    step = virtual_bytes(overlay) // count // (64 * 1024) * (64 * 1024)
    source = pieces(like, seed)
    commands = []
    scratch.mkdir()
    for number in range(count):
        piece = scratch / str(number)
        piece.write_bytes(next(source))
        commands.append(f"write -q -s {piece} {number * step} {PIECE_BYTES}")
    run("qemu-io", "-f", "qcow2", overlay, input="\n".join([*commands, "flush", ""]))
    for piece in scratch.iterdir():
        piece.unlink()
    scratch.rmdir()
    sync(overlay)
