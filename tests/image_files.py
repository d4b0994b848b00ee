"""Small disks that Kiln takes for system disks, and files that it must not take for any.

A system disk here has what an import looks for (a boot record with code, a bootable partition, an ext4 root) and no
operating system: a machine starts from it and finds nothing to do, which is all that most tests need of a guest.
"""

import gzip
import random
import subprocess
import tarfile
from pathlib import Path

MIB = 1 << 20
ROOT_START_BYTES = MIB
# Halts the processor: a guest that costs the tests no time. `cli; hlt; jmp back`.
BOOT_CODE = bytes([0xFA, 0xF4, 0xEB, 0xFC])
CLUSTER_BYTES = 64 << 10


def system_disk(path, seed, size_mib=64, content_mib=24):
    """Writes a raw system disk whose content the seed decides; its path."""
    numbers = random.Random(seed)
    files = path.with_suffix(".files")
    files.mkdir()
    for index in range(4):
        (files / f"noise-{index}").write_bytes(numbers.randbytes(content_mib * MIB // 4))
    with path.open("wb") as disk:
        disk.truncate(size_mib * MIB)
    run("sfdisk", "--quiet", path, input=b"label: dos\nstart=2048, type=83, bootable\n")
    root_kib = (size_mib * MIB - ROOT_START_BYTES) // 1024
    options = ["-q", "-F", "-t", "ext4", "-L", "root", "-m", "0", "-E", f"offset={ROOT_START_BYTES}"]
    run("mke2fs", *options, "-d", files, path, f"{root_kib}k")
    with path.open("r+b") as disk:
        disk.write(BOOT_CODE)
    for file in files.iterdir():
        file.unlink()
    files.rmdir()
    return path


def qcow2(raw, *options):
    """The same disk as a qcow2 file beside it."""
    path = raw.with_suffix(".qcow2")
    run("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", *options, raw, path)
    return path


def change_overlay(overlay, numbers, expected_from, expected_to, clusters=16):
    """Changes clusters of a stopped instance's disk with qemu-io, and writes what the whole disk should be now."""
    run("cp", "--sparse=always", "--reflink=auto", expected_from, expected_to)
    places = numbers.sample(range(expected_from.stat().st_size // CLUSTER_BYTES), clusters)
    commands = []
    with expected_to.open("r+b") as expected:
        for place in places:
            pattern, offset = numbers.randrange(256), place * CLUSTER_BYTES
            commands += ["-c", f"write -q -P {pattern} {offset} {CLUSTER_BYTES}"]
            expected.seek(offset)
            expected.write(bytes([pattern]) * CLUSTER_BYTES)
    run("qemu-io", "-f", "qcow2", *commands, overlay)


def same_disk(url, expected):
    """Asserts that qemu-img reads over NBD exactly what a file or another export holds."""
    expected_format = "raw" if str(expected).startswith("nbd") else Path(expected).suffix.removeprefix(".")
    compared = subprocess.run(
        ["qemu-img", "compare", "-f", "raw", "-F", expected_format, url, expected], capture_output=True, text=True
    )
    assert compared.returncode == 0, f"{url} against {expected}: {compared.stdout}{compared.stderr}"


def no_disks(directory, small_disk):
    """Files that hold no system disk, by name, each with the error code that its import ends with."""
    noise = random.Random(5).randbytes(MIB)
    contents = {
        "empty": b"",
        "text": b"This is a letter, not a disk.\n" * 1000,
        "page": b"<!DOCTYPE html><html><body>404, but with status 200</body></html>\n",
        "noise": noise,
        "zeros": bytes(MIB),
        "gzip": gzip.compress(small_disk.read_bytes()[: 2 * MIB]),
        "cut.qcow2": qcow2(small_disk).read_bytes()[: 2 * MIB],
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    with tarfile.open(directory / "tar", "w") as archive:
        archive.add(small_disk, "disk.raw")
    return sorted([*contents, "tar"])


def run(program, *arguments, input=None):
    """Runs a program that must be there and succeed; what it printed."""
    done = subprocess.run([program, *map(str, arguments)], input=input, capture_output=True)
    assert done.returncode == 0, f"{program} ended with {done.returncode}: {done.stderr.decode()}"
    return done.stdout
