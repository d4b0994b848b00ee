"""A front that lets clients which insist on HTTPS and on their own host reach a server on loopback: an HTTP proxy that
takes every tunnel to itself, ends TLS with a certificate for the host that is asked for, and passes the bytes on.
"""

import contextlib
import socket
import socketserver
import ssl
import subprocess
import threading

CHUNK = 64 << 10


class TlsFront:
    """Certificates of these hosts are made in `directory`; `address` is that of the server behind."""

    def __init__(self, directory, hosts, address):
        self.certificate = directory / "front.pem"
        key = directory / "front.key"
        names = ",".join(f"DNS:{host}" for host in hosts)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", "/CN=front", "-addext", f"subjectAltName={names}"]
        subprocess.run([*command, "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)

        class Tunnel(socketserver.BaseRequestHandler):
            def handle(self):
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    part = self.request.recv(1)
                    if not part:
                        return
                    request += part
                assert request.startswith(b"CONNECT "), request
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with contextlib.suppress(OSError):
                    with context.wrap_socket(self.request, server_side=True) as client:
                        with socket.create_connection(address) as server:
                            relay(client, server)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


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
