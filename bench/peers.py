"""The tools of the field that Kiln is measured against, run as their users run them.

Whatever writes a file here ends with fsync, as Kiln's imports do: a tool that leaves its work in memory has not
finished it.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

# The image files that disks come in, by what people call them: qemu-img's format and options.
FORMATS = {
    "raw": ("raw", []),
    "qcow2": ("qcow2", []),
    "qcow2, zlib": ("qcow2", ["-c"]),
    "qcow2, zstd": ("qcow2", ["-c", "-o", "compression_type=zstd"]),
    "VHD, dynamic": ("vpc", ["-o", "force_size=on"]),
    "VHD, fixed": ("vpc", ["-o", "subformat=fixed,force_size=on"]),
    "VMDK, sparse": ("vmdk", []),
    "VMDK, streamOptimized": ("vmdk", ["-o", "subformat=streamOptimized"]),
}
CONNECT_SECONDS = 10


def run(*command: str | Path, **options) -> str:
    """Runs a tool and returns what it printed; its complaint is the error's text."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def sync(path: Path):
    """Makes a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_raw(source: Path, target: Path, source_format: str = "qcow2"):
    """`qemu-img convert` to a sparse raw file, durable."""
    run("qemu-img", "convert", "-f", source_format, "-O", "raw", source, target)
    sync(target)


def to_format(source: Path, target: Path, name: str):
    """`qemu-img convert` to one of `FORMATS`, durable."""
    target_format, options = FORMATS[name]
    run("qemu-img", "convert", "-O", target_format, *options, source, target)
    sync(target)


def to_compressed(source: Path, target: Path):
    """`qemu-img convert` to a qcow2 file compressed with zstd, durable."""
    to_format(source, target, "qcow2, zstd")


def flatten(overlay: Path, base: Path, target: Path):
    """`qemu-img convert` of an overlay and its base to one full qcow2 file, durable."""
    chain = f"driver=qcow2,file.filename={overlay},backing.driver=raw,backing.file.filename={base}"
    run("qemu-img", "convert", "--image-opts", "-O", "qcow2", chain, target)
    sync(target)


def create_overlay(base: Path, target: Path):
    """`qemu-img create -b`: the usual root disk of a new machine."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, target)


def copy_sparse(source: Path, target: Path):
    """`cp --sparse=always`, durable."""
    run("cp", "--sparse=always", "--reflink=never", source, target)
    sync(target)


def convert(source: Path, target: Path, target_format: str, options: list[str]):
    """`qemu-img convert` of a local qcow2 file, durable."""
    run("qemu-img", "convert", "-f", "qcow2", "-O", target_format, *options, source, target)
    sync(target)


def copy(source: Path, target: Path):
    """`cp`, durable."""
    run("cp", "--reflink=never", source, target)
    sync(target)


def copy_object(source: Path, target: Path):
    """A copy of a file as object storage clients make it: all bytes, durable."""
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    sync(target)


def read_nbd(url: str):
    """Reads the whole of an export, as fast as the client can."""
    run("nbdcopy", url, "null:")


@contextlib.contextmanager
def qemu_nbd(image: Path, socket_path: Path):
    """A `qemu-nbd` that serves an image read-only; answers the export's URL and the process."""
    command = ["qemu-nbd", "-r", "-t", "-e", "16", "-f", "qcow2", "-k", str(socket_path), str(image)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for_socket(socket_path, process)
        yield f"nbd+unix:///?socket={socket_path}", process.pid
    finally:
        process.terminate()
        process.wait()
        socket_path.unlink(missing_ok=True)


def wait_for_socket(path: Path, process: subprocess.Popen):
    """Waits until somebody listens there."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(path))
            return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args[0]} does not serve {path}")
