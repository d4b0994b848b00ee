"""A file server on the loopback address, for imports: whole files and ranges, sent by the kernel.

It is a process of its own, and does as little as a server can, so that what is measured is Kiln's work.
Usage: `python web.py DIRECTORY`; it prints its port.
"""

import contextlib
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Sends files of the server's directory."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.server.directory / Path(self.path).name
        if not path.is_file():
            return self.send_error(404)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first, last = self.range(size)
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(last + 1 - first))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{size:x}-{os.fstat(file.fileno()).st_mtime_ns:x}"')
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            while first <= last:
                first += os.sendfile(self.connection.fileno(), file.fileno(), first, last + 1 - first)

    def range(self, size: int) -> tuple[int, int]:
        """The first and last byte that are asked for."""
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        return int(first), min(int(last or size), size - 1)

    def log_message(self, *_):
        """Requests are nobody's news."""


@contextlib.contextmanager
def serve(directory: Path):
    """A server of `directory`, in a process of its own; answers its address."""
    command = [sys.executable, __file__, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.directory = Path(sys.argv[1])
    print(web.server_port, flush=True)
    web.serve_forever()
