"""A front that lets clients which insist on HTTPS, or even on their own host, reach a server on loopback: it ends TLS
and passes the bytes on. As an HTTP proxy, it takes every tunnel to itself.
"""

import contextlib
import socket
import socketserver
import ssl
import subprocess
import threading

CHUNK = 64 << 10
# What a connection begins with that speaks TLS.
TLS_HANDSHAKE = b"\x16"


class TlsFront:
    """Certificates of these hosts are made in `directory`; `address` is that of the server behind."""

    def __init__(self, directory, hosts, address):
        self.certificate = directory / "front.pem"
        key = directory / "front.key"
        names = ",".join(["IP:127.0.0.1", *(f"DNS:{host}" for host in hosts)])
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", "/CN=front", "-addext", f"subjectAltName={names}"]
        subprocess.run([*command, "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)

        class Tunnel(socketserver.BaseRequestHandler):
            def handle(self):
                if self.request.recv(1, socket.MSG_PEEK) != TLS_HANDSHAKE and not accept_tunnel(self.request):
                    return
                with contextlib.suppress(OSError):
                    with context.wrap_socket(self.request, server_side=True) as client:
                        with socket.create_connection(address) as server:
                            relay(client, server)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def accept_tunnel(connection):
    """Answers a client that takes this for a proxy; whether it did."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        if not part:
            return False
        request += part
    assert request.startswith(b"CONNECT "), request
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    return True


def relay(client, server):
    """Passes bytes on in both directions until one side ends."""
    back = threading.Thread(target=pass_on, args=(server, client), daemon=True)
    back.start()
    pass_on(client, server)
    server.shutdown(socket.SHUT_WR)
    back.join()


def pass_on(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
