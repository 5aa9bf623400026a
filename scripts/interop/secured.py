"""Plays OpenSSL (Python's ssl) against links with TLS: clients that may and may not come in, certificates replaced while
the engine runs, and a network that the engine connects to. Exit 0 when all is as docs/links.md says."""

import pathlib
import socket
import ssl
import subprocess
import sys

from engine import free_ports, until

CONFIG = """
[[link]]
name = "in"
listen = "127.0.0.1:{listen}"
spec = "iso1987-ascii"
[link.tls]
certificate = "{work}/own.pem"
key = "{work}/own.key"
peer_ca = "{work}/clients.pem"

[[link]]
name = "out"
connect = "localhost:{network}"
spec = "iso1987-ascii"
sign_on = true
[link.tls]
certificate = "{work}/own.pem"
key = "{work}/own.key"
peer_ca = "{work}/network.pem"

[rest]
listen = "127.0.0.1:{rest}"
"""

# 0800, elements 7, 11 and 70 (270, an echo), as iso1987-ascii writes them.
ECHO = b"0800" + b"8220000000000000" + b"0400000000000000" + b"1123120000" + b"000001" + b"270"


class Certificates:
    """Authorities and what they sign, by the openssl command."""

    def __init__(self, work):
        self.work = pathlib.Path(work)

    def run(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.work)

    def authority(self, name):
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                 "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def issue(self, authority, name):
        self.run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.work / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-days", "30",
                 "-extfile", "names", "-out", f"{name}.pem")

    def path(self, name):
        return str(self.work / name)


class Judge:
    def __init__(self):
        self.checks = self.failed = 0

    def check(self, what, held, got=""):
        self.checks += 1
        self.failed += not held
        print(f"  {'ok  ' if held else 'FAIL'} {what}" + ("" if held else f": {got}"), flush=True)


def read(wire, count):
    parts = b""
    while len(parts) < count:
        more = wire.recv(count - len(parts))
        if not more:
            raise ConnectionError("the engine closed the link")
        parts += more
    return parts


def frame(wire):
    return read(wire, int.from_bytes(read(wire, 2), "big"))


def exchange(wire, message):
    wire.sendall(len(message).to_bytes(2, "big") + message)
    return frame(wire)


def client(certificates, shows, believes, version=None):
    context = ssl.create_default_context(cafile=certificates.path(f"{believes}.pem"))
    if shows:
        context.load_cert_chain(certificates.path(f"{shows}.pem"), certificates.path(f"{shows}.key"))
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def connect(port, context):
    """An open connection, once an echo came back on it: what the engine thinks of our certificate is known then."""
    plain = socket.create_connection(("127.0.0.1", port), 5)
    wire = context.wrap_socket(plain, server_hostname="localhost")
    if exchange(wire, ECHO)[:4] != b"0810":
        raise ConnectionError("no answer to an echo")
    return wire


def refused(port, context):
    try:
        connect(port, context).close()
        return False, "let in"
    except (ssl.SSLError, ConnectionError) as error:
        return True, str(error)


def main(binary, work):
    judge, made = Judge(), Certificates(work)
    for authority in ("servers", "clients", "strangers"):
        made.authority(authority)
    for authority, name in (("servers", "own"), ("clients", "client"), ("strangers", "stranger"), ("servers", "peer")):
        made.issue(authority, name)
    (made.work / "network.pem").write_text((made.work / "servers.pem").read_text())
    listen, rest = free_ports(2)
    network = socket.create_server(("127.0.0.1", 0))
    network.settimeout(20)
    config = made.work / "engine.toml"
    config.write_text(CONFIG.format(work=work, listen=listen, network=network.getsockname()[1], rest=rest))
    command = [binary, "serve", "--config", config, "--data", made.work / "data"]
    engine = subprocess.Popen(command, stdout=open(made.work / "out", "w"), stderr=open(made.work / "log", "w"))
    try:
        until("serve did not say `ready in N ms`", 60, lambda: "ready in" in (made.work / "out").read_text())
        print(f"TLS: {ssl.OPENSSL_VERSION} as client")
        right = client(made, "client", "servers")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            wire = connect(listen, client(made, "client", "servers", version))
            judge.check(f"the right certificate, {wire.version()} {wire.cipher()[0]}", True)
            judge.check("no certificate is refused", *refused(listen, client(made, None, "servers", version)))
            judge.check("another authority's is refused", *refused(listen, client(made, "stranger", "servers", version)))
        judge.check("the engine's is not believed by who believes another", *refused(listen, client(made, "client", "strangers")))

        print("TLS: certificates replaced while it runs")
        made.authority("later")
        made.issue("later", "next")
        for part in ("key", "pem"):
            (made.work / f"next.{part}").rename(made.work / f"own.{part}")
        judge.check("who believes the old authority stays out", *refused(listen, right))
        after = connect(listen, client(made, "client", "later"))
        judge.check("who believes the new one comes in", True)
        judge.check("what was open goes on", exchange(wire, ECHO)[:4] == b"0810")

        print("TLS: a network that the engine connects to")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=made.path("later.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(made.path("peer.pem"), made.path("peer.key"))
        while True:
            # It knocked before its certificate was replaced, too.
            try:
                dialled = context.wrap_socket(network.accept()[0], server_side=True)
                break
            except ssl.SSLError:
                continue
        dialled.settimeout(20)
        request = frame(dialled)
        judge.check("it shows its certificate and signs on", request[:4] == b"0800" and request.endswith(b"001"), request)
        judge.check("an echo on it is answered", exchange(dialled, ECHO)[:4] == b"0810")

        engine.terminate()
        for what, one in (("accepted", after), ("dialled", dialled)):
            one.settimeout(20)
            try:
                while one.recv(4096):
                    pass
                judge.check(f"SIGTERM: the end is said inside TLS, {what}", True)
            except (ssl.SSLError, OSError) as error:
                judge.check(f"SIGTERM: the end is said inside TLS, {what}", False, error)
        judge.check("and it ends with 0", engine.wait(20) == 0)
    finally:
        engine.kill()
        engine.wait()
    print()
    if judge.failed:
        print(f"{judge.failed} of {judge.checks} checks FAILED; the engine said:")
        print((made.work / "log").read_text())
        return 1
    print(f"all {judge.checks} checks hold")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: secured.py BINARY EMPTY_DIRECTORY")
    sys.exit(main(sys.argv[1], sys.argv[2]))
