"""Imports cannot be used to reach what only this machine reaches: not by a URL, not by a redirect, not by a server that
behaves well at first. Watched ports say whether anything was connected to at all.

What a name server may answer, and slow bodies, are tested where they can be timed: crates/transfer/tests/it.
"""

import socket
import threading
import urllib.parse

import pytest
from cloud import refused
from conftest import BARE_DISKS
from file_host import FileHost

NOT_FETCHED = "FailedOperation.ImportSourceUnreadable"
BAD_URL = "InvalidParameter.InvalidParameterUrlError"
LIMITS = '[limits]\npreset = "current"\n'
FIRST_HOST = '[transfer]\nallow_private = ["127.0.0.1/32"]\n'
CHUNK = b"100000\r\n" + bytes(1 << 20) + b"\r\n"

# Where nothing may be fetched from, however it is written.
PRIVATE = [
    "127.0.0.2", "127.0.0.2.", "127.2", "2130706434", "0x7f000002", "0x7f.2", "0177.0.0.02", "017700000002", "%31%32%37.0.0.2",
    "１２７.０.０.２", "127。0。0。2", "0", "[::1]", "[::]", "[0:0::1]", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]", "[::127.0.0.2]",
    "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "169.254.169.254", "2852039166", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "10.0.0.1",
]  # fmt: skip
# These are 127.0.0.1, which the second server allows. (Not every system knows the last one.)
LOCAL = ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST", "localhost."]


class Watched:
    """A port of several of this machine's own addresses; who connects to it is told."""

    def __init__(self):
        self.connections = []
        self.listeners = [listener(socket.AF_INET, "127.0.0.1", 0)]
        self.port = self.listeners[0].getsockname()[1]
        self.listeners.append(listener(socket.AF_INET, "127.0.0.2", self.port))
        if socket.has_ipv6:
            self.listeners.append(listener(socket.AF_INET6, "::1", self.port))
        for one in self.listeners:
            threading.Thread(target=self.watch, args=(one,), daemon=True).start()

    def watch(self, one):
        while True:
            try:
                connection, _ = one.accept()
            except OSError:
                return
            self.connections.append(connection.getsockname())
            connection.close()

    def close(self):
        for one in self.listeners:
            # Wakes up who waits for connections.
            one.shutdown(socket.SHUT_RDWR)
            one.close()


def listener(family, address, port):
    made = socket.socket(family)
    made.bind((address, port))
    made.listen()
    return made


@pytest.fixture
def watched():
    watched = Watched()
    yield watched
    watched.close()
    assert watched.connections == []


class Deceiver(FileHost):
    """Serves files as its base does, and besides: `/to/URL` redirects; `/later/NAME/URL` serves ranges of a file, and who
    wants all of it is redirected; `/endless` has no end."""

    def __init__(self, directory):
        super().__init__(directory)
        base, deceiver = self.server.RequestHandlerClass, self

        class Handler(base):
            def do_GET(self):
                _, manner, *rest = self.path.split("/")
                deceiver.requests.append((self.path, self.headers.get("Range")))
                if manner == "to":
                    return self.redirect(rest[0])
                if manner == "later":
                    return self.answer_file(deceiver.directory / rest[0], "") if "Range" in self.headers else self.redirect(rest[1])
                if manner == "endless":
                    return self.never_end()
                return super().do_GET()

            def redirect(self, url):
                self.send_response(302)
                # As it is on the way: in UTF-8.
                self.send_header("Location", urllib.parse.unquote(url).encode().decode("latin-1"))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def never_end(self):
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.close_connection = True
                try:
                    while True:
                        self.wfile.write(CHUNK)
                except (BrokenPipeError, ConnectionResetError):
                    pass

        self.server.RequestHandlerClass = Handler


@pytest.fixture
def deceiver(files):
    deceiver = Deceiver(files)
    yield deceiver
    deceiver.close()


@pytest.fixture(scope="module")
def closed(make_server):
    """An account of a server that fetches from no private address: the default."""
    return make_server(LIMITS + BARE_DISKS).start().create_account("alice")


@pytest.fixture(scope="module")
def half_open(make_server):
    """An account of a server that fetches from 127.0.0.1 and no other private address."""
    return make_server(FIRST_HOST + LIMITS + BARE_DISKS).start().create_account("alice")


def assert_none_is_fetched(account, urls):
    """That imports of all of them end, each with a sentence that says why and what to do."""
    images = {url: account.import_image(url, f"image {number}") for number, url in enumerate(urls)}
    for url, image in images.items():
        account.finished_image(image)
        state, code, sentence = account.failure(image)
        assert (state, code) == ("IMPORTFAILED", NOT_FETCHED), f"{url}: {code} {sentence}"
        assert "allow_private" in sentence or "localhost.:" in url and "looked up" in sentence, f"{url}: {sentence}"
        account.call("DeleteImages", ImageIds=[image])
    assert account.server.staged_files() == []


def test_no_private_address_is_fetched_from(closed, watched):
    assert_none_is_fetched(closed, [f"http://{host}:{watched.port}/disk.qcow2" for host in PRIVATE + LOCAL])


def test_urls_that_hide_where_they_lead(closed, watched):
    own = f"127.0.0.1:{watched.port}"
    for url in [
        f"http://example.org@{own}/", f"http://user:word@{own}/", f"file://{own}/etc/passwd", f"gopher://{own}/_x", f"ftp://{own}/x",
        "file:///etc/passwd", "http://", "http://127.0.0.256/", "http://[::1/", "//127.0.0.1/x", "disk.qcow2",
    ]:  # fmt: skip
        sentence = refused(BAD_URL, closed.import_image, url, "hidden")
        assert sentence.startswith("ImageUrl: ") and sentence.endswith("."), sentence
    # The host is what comes before the first of these.
    assert_none_is_fetched(closed, [f"http://{own}\\@example.org/", f"http://{own}/#@example.org", f"http://{own}?@example.org/"])


def test_no_redirect_leads_to_a_private_address(half_open, watched, deceiver):
    redirect = lambda url: deceiver.url(urllib.parse.quote(url, safe=""), "to")  # noqa: E731
    assert_none_is_fetched(half_open, [redirect(f"http://{host}:{watched.port}/disk") for host in PRIVATE])
    assert_none_is_fetched(half_open, [redirect(redirect(f"http://127.0.0.2:{watched.port}/"))])
    assert len(deceiver.requests) >= len(PRIVATE) + 2
    image = half_open.import_image(redirect("file:///etc/passwd"), "file")
    half_open.finished_image(image)
    assert half_open.failure(image)[1] == NOT_FETCHED


def test_a_server_that_behaves_until_the_file_is_fetched(half_open, watched, deceiver, small_disk):
    to = urllib.parse.quote(f"http://127.0.0.2:{watched.port}/", safe="")
    assert_none_is_fetched(half_open, [deceiver.url(to, f"later/{small_disk.name}")])
    ranges = [asked for path, asked in deceiver.requests if path.startswith("/later")]
    assert ranges[-1] is None and any(asked and asked != "bytes=0-0" for asked in ranges), "it was looked at first"


def test_an_endless_file_ends_at_the_limit(half_open, deceiver):
    half_open.server.operator().set_limits(half_open.uin, SystemDiskSize=1)
    image = half_open.import_image(deceiver.url("endless"), "endless")
    half_open.finished_image(image)
    state, code, sentence = half_open.failure(image)
    assert (state, code) == ("IMPORTFAILED", NOT_FETCHED) and "larger than the limit" in sentence, sentence
    assert half_open.server.staged_files() == []
