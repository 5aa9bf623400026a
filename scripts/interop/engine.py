"""The processes under test: `auth-engine serve` and `auth-engine simulate partner`, and REST as a client sees it."""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

CONFIG = """
[[link]]
name = "mastercard"
listen = "127.0.0.1:{mastercard}"
spec = "mastercard"

[[link]]
name = "ascii"
listen = "127.0.0.1:{ascii}"
spec = "iso1987-ascii"
require_sign_on = true

[rest]
listen = "127.0.0.1:{rest}"

[journal]
segment = "8MiB"
"""


def free_ports(count):
    """Ports nobody has; all are held until all are known, so that none comes twice."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def until(what, seconds, ready):
    """Waits for `ready()`."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"interop: {what} within {seconds} s")
        time.sleep(0.02)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Engine:
    """`serve` on a directory of its own; it can be killed and started again."""

    def __init__(self, binary, work):
        self.binary, self.work = binary, pathlib.Path(work)
        self.mastercard, self.ascii, self.rest, self.partner_port = free_ports(4)
        self.config = self.work / "engine.toml"
        self.config.write_text(CONFIG.format(mastercard=self.mastercard, ascii=self.ascii, rest=self.rest))
        self.process = self.partner = None

    def start(self):
        told = open(self.work / "serve.out", "w")
        log = open(self.work / "serve.log", "a")
        command = [self.binary, "serve", "--config", self.config, "--data", self.work / "data"]
        self.process = subprocess.Popen(command, stdout=told, stderr=log)

        def ready():
            if self.process.poll() is not None:
                sys.exit(f"interop: serve ended with {self.process.returncode}: {self.log()}")
            return "ready in" in (self.work / "serve.out").read_text()

        until("serve did not say `ready in N ms`", 60, ready)
        self.key = (self.work / "data" / "operator.key").read_text().strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends what is running; returns serve's exit code after SIGTERM."""
        code = None
        if self.partner is not None:
            self.partner.kill()
            self.partner.wait()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                code = self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return code

    def log(self):
        lines = (self.work / "serve.log").read_text().splitlines()
        return lines[-1] if lines else "nothing logged"

    def start_partner(self, secret, rules):
        command = [self.binary, "simulate", "partner", "--quiet", "--listen", f"127.0.0.1:{self.partner_port}"]
        command += ["--secret", secret]
        for rule in rules:
            command += ["--rule", rule]
        self.partner = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until("the sample partner did not listen", 20, lambda: accepts(self.partner_port))

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"interop: {method} {path}: {error.code} {error.read().decode(errors='replace')}")

    def post(self, path, **body):
        return self.call("POST", path, body)


def eur(value):
    return {"value": value, "currency": "EUR"}


class World:
    """A partner with a pool, a user with an account, and for each link a card of either funding."""

    def __init__(self, engine):
        partner = engine.post(
            "/v1/partners", name="Interop", decision_url=f"http://127.0.0.1:{engine.partner_port}/decide"
        )
        engine.start_partner(partner["webhook_secret"], ["amount>100 decline limit_exceeded", "approve"])
        self.pool = engine.post("/v1/pools", partner_id=partner["id"], currency="EUR")["id"]
        top_up = engine.post(f"/v1/pools/{self.pool}/top-ups", amount=eur("1000.00"), reference="prefund")["id"]
        engine.post(f"/v1/top-ups/{top_up}/settle")
        user = engine.post("/v1/users", partner_id=partner["id"], external_id="ines", country="ES")["id"]
        for status in ("submitted", "in_review", "approved"):
            engine.post(f"/v1/users/{user}/kyc", status=status)
        self.account = engine.post(f"/v1/users/{user}/accounts", currency="EUR")["id"]
        engine.post("/v1/pay-ins", account_id=self.account, amount=eur("50.00"), reference="salary")
        self.pool_card = engine.post("/v1/cards", user_id=user, funding={"type": "pool", "pool_id": self.pool})
        self.account_card = engine.post("/v1/cards", user_id=user, funding={"type": "account", "currency": "EUR"})

    def balances(self, engine):
        """posted, held, available of pool and account, as text."""
        found = {}
        for name, path in (("pool", f"/v1/pools/{self.pool}"), ("account", f"/v1/accounts/{self.account}")):
            one = engine.call("GET", path)
            found[name] = tuple(one[member]["value"] for member in ("posted", "held", "available"))
        return found

    @staticmethod
    def holds(engine):
        """Each authorization by its id: all that REST says of it."""
        page = engine.call("GET", "/v1/authorizations?limit=200")
        return {one["id"]: one for one in page["data"]}
