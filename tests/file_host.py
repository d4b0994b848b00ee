"""An HTTP server of files, on a free port of the loopback address, that is as bad as servers can be where asked.

How a file is served stands in the path: `/slow/NAME`, `/cut/NAME` (the connection ends in the middle, always),
`/status-404/NAME`; anything else is served properly, with ranges and an entity tag.
"""

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE_BYTES = 256 << 10
SLOW_BYTES_PER_SECOND = 48 << 20


class FileHost:
    """Serves the files of a directory until it is closed."""

    def __init__(self, directory):
        self.directory = directory
        self.requests = []
        host = self

        class Handler(_Handler):
            files = host

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def url(self, name, manner=None):
        return f"http://{self.address}/{manner}/{name}" if manner else f"http://{self.address}/{name}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Says nothing: a test's output is the test's."""

    def do_GET(self):
        *manner, name = self.path.strip("/").split("/")
        self.files.requests.append((self.path, self.headers.get("Range")))
        if manner and (status := re.fullmatch(r"status-(\d+)", manner[0])):
            return self.answer_status(int(status.group(1)))
        path = self.files.directory / name
        if not path.is_file():
            return self.answer_status(404)
        try:
            self.answer_file(path, manner[0] if manner else "")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer_status(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_file(self, path, manner):
        size = path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(wanted.group(1)) if wanted else 0
        end = min(int(wanted.group(2)) + 1 if wanted and wanted.group(2) else size, size)
        if wanted and start >= end:
            return self.answer_status(416)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}-{size}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        self.send_body(path, start, min(end, size // 2) if manner == "cut" else end, manner)

    def send_body(self, path, start, end, manner):
        with path.open("rb") as file:
            file.seek(start)
            while start < end:
                piece = file.read(min(PIECE_BYTES, end - start))
                self.wfile.write(piece)
                start += len(piece)
                if manner == "slow":
                    time.sleep(len(piece) / SLOW_BYTES_PER_SECOND)
        # What was promised and did not come is noticed only when the connection ends.
        self.close_connection = self.close_connection or manner == "cut"
