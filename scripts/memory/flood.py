"""Floods an engine with what it could be made to remember, and looks at its resident memory after each kind.

    flood.py BINARY WORK MINUTES
"""

import pathlib
import socket
import subprocess
import sys
import time

BATCH = 500
# Messages of a kind in a round.
ROUND = 100_000
HALF_OPEN = 500
# What is remembered of a request is forgotten after this, so that a run of minutes sees it forgotten.
WINDOW = 60

CONFIG = """
[[link]]
name = "ascii"
listen = "127.0.0.1:0"
spec = "iso1987-ascii"
frame_timeout = "2s"

[rest]
listen = "127.0.0.1:0"

[journal]
dedup_window = "{window}s"
"""


def message(mti, card, number, reference, original=None):
    """A message in ASCII with hexadecimal bitmaps: DE2, 3, 4, 7, 11, 32, 49, 63, and DE90 with an original."""
    # Another second every thousand messages: a STAN comes again after a million.
    second = number // 1000
    sent = f"0601{second // 3600 % 24:02}{second // 60 % 60:02}{second % 60:02}"
    stan = f"{number % 1_000_000:06}"
    elements = [2, 3, 4, 7, 11, 32, 49, 63] + ([90] if original is not None else [])
    bits = 0
    for n in elements:
        bits |= 1 << (128 - n)
    if original is not None:
        bits |= 1 << 127
    bitmap = f"{bits:032X}"[: 32 if original is not None else 16]
    body = f"16{card}000000{100:012}{sent}{stan}06123456978"
    body += f"{len(reference):03}{reference}"
    if original is not None:
        body += f"0100{original:06}{sent}{'123456':0>11}{'0' * 11}"
    raw = (mti + bitmap + body).encode()
    return len(raw).to_bytes(2, "big") + raw


class Engine:
    def __init__(self, binary, work):
        config = work / "engine.toml"
        config.write_text(CONFIG.format(window=WINDOW))
        command = [binary, "serve", "--config", config, "--data", work / "data"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = None
        for line in self.process.stdout:
            if line.startswith("link"):
                self.port = int(line.rsplit(":", 1)[1])
            if line.startswith("ready"):
                return
        sys.exit(f"memory: serve ended with {self.process.wait()}")

    def resident(self):
        """Bytes of memory that are not a file's: the read model maps its files."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024

    def exchange(self, messages):
        """Sends all, counts the answers."""
        link = socket.create_connection(("127.0.0.1", self.port), 10)
        link.settimeout(30)
        stream = link.makefile("rb")
        count = 0
        batch = []

        def flush():
            link.sendall(b"".join(batch))
            for _ in batch:
                size = int.from_bytes(stream.read(2), "big")
                stream.read(size)
            batch.clear()

        for one in messages:
            batch.append(one)
            count += 1
            if len(batch) == BATCH:
                flush()
        flush()
        link.close()
        return count


def half_open(engine):
    """Connections that send half a frame and are left alone until the engine cuts them."""
    held = []
    for _ in range(HALF_OPEN):
        one = socket.create_connection(("127.0.0.1", engine.port), 10)
        one.sendall(b"\x00\x64" + b"0100")
        held.append(one)
    cut = 0
    for one in held:
        one.settimeout(10)
        try:
            cut += one.recv(1) == b""
        except ConnectionResetError:
            cut += 1
        one.close()
    return cut


def main():
    binary, work, minutes = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3])
    engine = Engine(binary, work)
    number = 0
    rows = []
    began = time.monotonic()
    print("minute  repeats  unknown cards  half-open cut  reversals of nothing  MiB", flush=True)
    try:
        while time.monotonic() - began < minutes * 60:
            same = message("0100", f"{number:016}", number, "MCC000001")
            repeats = engine.exchange(same for _ in range(ROUND))
            number += 1
            start = number
            unknown = engine.exchange(
                message("0100", f"{4000 + n % 1000:04}{n:012}", n, f"R{n % 10**8:08}") for n in range(start, start + ROUND)
            )
            number += ROUND
            cut = half_open(engine)
            # The same ones every round: each is remembered for seven days, so that new ones would not be flat.
            told = engine.exchange(
                message("0400", f"{5000 + n % 1000:04}{n:012}", n, f"R{n:08}", n) for n in range(ROUND // 10)
            )
            after = engine.resident()
            minute = (time.monotonic() - began) / 60
            rows.append((minute, after))
            print(f"{minute:6.1f}  {repeats:7}  {unknown:13}  {cut:13}  {told:20}  {after / 2**20:.1f}", flush=True)
    finally:
        engine.process.terminate()
        engine.process.wait()
    # The first rounds fill what is kept for a window; what comes behind two of them counts, and a twentieth of it is the
    # noise of tables and pages.
    settled = [row for row in rows if row[0] * 60 > 2 * WINDOW]
    if len(settled) < 4:
        sys.exit("memory: too short to say anything; give it more minutes")
    half = len(settled) // 2
    middle = lambda some: sorted(some)[len(some) // 2]
    early, late = (middle([resident for _, resident in part]) for part in (settled[:half], settled[half:]))
    growth = late - early
    print(f"settled: {early / 2**20:.1f} MiB in the first half, {late / 2**20:.1f} in the second")
    flat_enough = growth <= early // 20
    print("flat" if flat_enough else f"NOT FLAT: {growth / 2**20:.1f} MiB more")
    sys.exit(0 if flat_enough else 1)


main()
