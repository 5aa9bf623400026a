"""Exchanges generated messages with three foreign implementations, both ways: by `decode` and `encode`, and on links.

    exchange.py BINARY WORK NODE_MODULES [COUNT [SEED]]

Each message is made of random elements, written by the foreign side, explained by `decode`, written again by `encode`
(byte for byte), and written by `encode` from nothing but its values, which the foreign side reads. The same messages go
over a link; the foreign side reads the replies, whose returned elements must be the request's. What a side cannot carry
is named in NOT_THEIRS and not generated for it: those are the only differences that are allowed.
"""

import json
import pathlib
import random
import socket
import string
import subprocess
import sys
import threading

import cardutil.iso8583
import iso8583

import specs
from engine import Engine, free_ports

RETURNED = [2, 3, 4, 5, 6, 7, 9, 10, 11, 15, 16, 20, 28, 32, 33, 37, 41, 49, 50, 51, 62, 63]
# Left out of what a side is given, and why.
NOT_THEIRS = {
    "pyiso8583": {},
    "cardutil": {
        52: "it has no binary elements but chip data",
        96: "it has no binary elements but chip data",
        55: "it takes chip data apart and writes what it made of it",
    },
    "iso_8583 (npm)": {
        55: "it writes binary elements of variable length as their hexadecimal text",
        127: "it packs DE127 as a message of its own",
    },
}
# Both sides' elements; track 2 has its own characters, and the network's DE96 may be any bytes.
NETWORK = {**specs.ELEMENTS, 35: "z ..37", 96: "b 8"}
STANDARD = {**specs.ELEMENTS, **specs.STANDARD, 35: "z ..37"}


def value(form, rng):
    """Random content of an element."""
    kind, length = form.split()
    most = int(length.lstrip("."))
    size = rng.randint(1, most) if "." in length else most
    if kind == "b":
        return rng.randbytes(size).hex().upper()
    if kind == "x":
        return rng.choice("CD") + "".join(rng.choices(string.digits, k=size - 1))
    if kind == "z":
        return "".join(rng.choices(string.digits, k=size // 2)) + "=" + "".join(rng.choices(string.digits, k=size // 2))
    letters = {"n": string.digits, "an": string.digits + string.ascii_uppercase}
    # No blank at either end: some sides trim.
    alphabet = letters.get(kind, string.digits + string.ascii_letters)
    inner = alphabet if kind in letters else alphabet + " .,-/"
    if size < 3:
        return "".join(rng.choices(alphabet, k=size))
    return rng.choice(alphabet) + "".join(rng.choices(inner, k=size - 2)) + rng.choice(alphabet)


def messages(count, elements, leave_out, rng):
    """Messages as {element: text}; element 0 is the type. All could be asked on a link."""
    for number in range(count):
        chosen = rng.sample(sorted(set(elements) - {2, 3, 4, 7, 11, 49} - set(leave_out)), rng.randint(2, 25))
        message = {n: value(elements[n], rng) for n in sorted({2, 3, 4, 7, 11, 49, *chosen})}
        # Said twice it must be said alike, and what is no date would be refused.
        message[2] = "".join(rng.choices(string.digits, k=16))
        message[7] = f"{rng.randint(1, 12):02}{rng.randint(1, 28):02}{rng.randint(0, 23):02}" + f"{number % 3600:04}"
        message[7] = message[7][:6] + f"{number // 60 % 60:02}{number % 60:02}"
        message[11] = f"{number % 1_000_000:06}"
        message[3] = rng.choice(["000000", "010000", "200000"])
        if 6 in message:
            message[51] = "978"
        message[0] = "0100"
        yield message


class PyIso:
    """PyPI's pyiso8583."""

    def __init__(self, spec):
        self.spec = spec

    def write(self, message):
        raw, _ = iso8583.encode({"h": "", "t": message[0], **{str(n): v for n, v in message.items() if n}}, self.spec)
        return bytes(raw)

    def read(self, raw):
        decoded, _ = iso8583.decode(raw, self.spec)
        return {0 if key == "t" else int(key): text for key, text in decoded.items() if key not in ("h", "p", "1")}


class CardUtil:
    """PyPI's cardutil, given the network's elements."""

    def __init__(self, elements):
        self.config = {"1": {"field_name": "bitmap", "field_type": "FIXED", "field_length": 8}}
        for number in range(2, 129):
            kind, length = elements.get(number, "ans ...999").split()
            dots = length.count(".")
            fixed = int(length) if dots == 0 else 0
            self.config[str(number)] = {
                "field_name": kind,
                "field_type": ["FIXED", "", "LLVAR", "LLLVAR"][dots],
                "field_length": fixed,
            }

    def write(self, message):
        given = {"MTI": message[0], **{f"DE{n}": text for n, text in message.items() if n}}
        return cardutil.iso8583.dumps(given, encoding="cp500", iso_config=self.config)

    def read(self, raw):
        if not raw[4] & 0x80:
            # It takes a second bitmap for granted, whatever bit 1 says: it is given an empty one.
            raw = raw[:4] + bytes([raw[4] | 0x80]) + raw[5:12] + bytes(8) + raw[12:]
        told = cardutil.iso8583.loads(raw, encoding="cp500", iso_config=self.config)
        return {0 if key == "MTI" else int(key[2:]): text for key, text in told.items()}


class Npm:
    """npm's iso_8583, asked in batches."""

    def __init__(self, modules, elements, work):
        self.modules = modules
        self.formats = pathlib.Path(work) / "formats.json"
        formats = {"1": {"ContentType": "b", "Label": "bitmap", "LenType": "fixed", "MaxLen": 16}}
        self.binary = {number for number, form in elements.items() if form.startswith("b")}
        for number in range(2, 129):
            kind, length = elements.get(number, "ans ...999").split()
            dots, most = length.count("."), int(length.lstrip("."))
            formats[str(number)] = {
                "ContentType": {"x": "an"}.get(kind, kind),
                "Label": kind,
                "LenType": ["fixed", "", "llvar", "lllvar"][dots],
                "MaxLen": most * 2 if kind == "b" else most,
            }
        self.formats.write_text(json.dumps(formats))

    def ask(self, way, things):
        lines = "\n".join(json.dumps(thing) for thing in things)
        command = ["node", pathlib.Path(__file__).with_name("npm.js"), self.modules, way, self.formats]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def write_all(self, all_messages):
        told = self.ask("pack", [{str(n): text for n, text in one.items()} for one in all_messages])
        for one in told:
            if "hex" not in one:
                sys.exit(f"exchange: npm's iso_8583 does not write a message: {one}")
        return [bytes.fromhex(one["hex"]) for one in told]

    def read_all(self, raws):
        told = self.ask("unpack", [raw.hex() for raw in raws])
        fields = [{int(n): text for n, text in one.items() if n.isdigit() and n != "1"} for one in told]
        for one in fields:
            one.update({n: one[n].upper() for n in self.binary & set(one)})
        # What it says instead of a message stands where the type would.
        return [one if one else {0: str(said)} for one, said in zip(fields, told)]


def write_all(side, all_messages):
    return side.write_all(all_messages) if hasattr(side, "write_all") else [side.write(one) for one in all_messages]


def read_all(side, raws):
    return side.read_all(raws) if hasattr(side, "read_all") else [side.read(raw) for raw in raws]


class Cli:
    """`decode` and `encode`, a batch at a time."""

    def __init__(self, binary, spec):
        self.binary, self.spec = binary, spec

    def run(self, *arguments, given):
        command = [self.binary, *arguments, "--spec", self.spec]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"exchange: {' '.join(map(str, command))}: {done.stderr[-400:]}")
        return done.stdout.splitlines()

    def decode(self, raws):
        lines = self.run("decode", "--clear", "--json", given="\n".join(raw.hex() for raw in raws))
        return [json.loads(line) for line in lines]

    def encode(self, objects):
        return [bytes.fromhex(line) for line in self.run("encode", given="\n".join(json.dumps(one) for one in objects))]


def said(described):
    """{element: text} of what `decode` says; bytes in hexadecimal."""
    told = {0: described["mti"]}
    for number, element in described["fields"].items():
        value = element["value"]
        told[int(number)] = value if isinstance(value, str) else element["raw"]
    return told


def text_of(described, charset, elements):
    """The same with composites as the text that they are, binary elements in hexadecimal."""
    told = said(described)
    for number, element in described["fields"].items():
        binary = elements[int(number)].startswith("b")
        if isinstance(element["value"], list):
            told[int(number)] = element["raw"] if binary else bytes.fromhex(element["raw"]).decode(charset)
    return told


def differences(wanted, got):
    places = sorted(n for n in {*wanted, *got} if wanted.get(n) != got.get(n))
    return [f"DE{n}: {got.get(n)!r}, not {wanted.get(n)!r}" for n in places]


def over_link(port, raws):
    """Sends all, reads as many replies; in the order of the requests by (DE7, DE11)."""
    link = socket.create_connection(("127.0.0.1", port), 10)
    link.settimeout(20)
    replies = []

    def read():
        stream = link.makefile("rb")
        for _ in raws:
            size = int.from_bytes(stream.read(2), "big")
            replies.append(stream.read(size))

    reader = threading.Thread(target=read)
    reader.start()
    # A few hundred at a time: more than `max_in_flight` would be refused, as documented.
    for start in range(0, len(raws), 200):
        link.sendall(b"".join(len(raw).to_bytes(2, "big") + raw for raw in raws[start : start + 200]))
        while len(replies) < min(start + 200, len(raws)) and reader.is_alive():
            reader.join(0.002)
    reader.join()
    link.close()
    return replies


class Tally:
    def __init__(self):
        self.found, self.failed = [], 0

    def check(self, what, faults):
        self.failed += bool(faults)
        for fault in faults[:3]:
            if len(self.found) < 20:
                self.found.append(f"{what}: {fault}")


def exchange(name, side, spec, charset, count, elements, cli, port, rng):
    tally = Tally()
    made = list(messages(count, elements, NOT_THEIRS[name], rng))
    raws = write_all(side, made)
    described = cli.decode(raws)
    for at, (message, one) in enumerate(zip(made, described)):
        tally.check(f"message {at}, read by decode", differences(message, text_of(one, charset, elements)))
    again = cli.encode(described)
    for at, (raw, one) in enumerate(zip(raws, again)):
        tally.check(f"message {at}, written again", [] if raw == one else ["other bytes"])
    # From values alone: what the foreign side reads must be what was meant.
    values = [
        {"spec": one["spec"], "mti": one["mti"], "fields": {n: {k: v for k, v in e.items() if k == "raw"} for n, e in one["fields"].items()}}
        for one in described
    ]
    for at, (message, one) in enumerate(zip(made, read_all(side, cli.encode(values)))):
        tally.check(f"message {at}, written by encode", differences(message, one))
    replies = over_link(port, raws)
    tally.check("the link", [] if len(replies) == count else [f"{len(replies)} replies"])
    by_key = {(one.get(7), one.get(11), one.get(2)): one for one in read_all(side, replies)}
    for at, message in enumerate(made):
        reply = by_key.get((message[7], message[11], message[2]))
        if reply is None:
            tally.check(f"message {at}, on the link", ["no reply"])
            continue
        wanted = {n: message[n] for n in RETURNED if n in message}
        got = {n: reply[n] for n in RETURNED if n in reply}
        faults = differences(wanted, got)
        if reply.get(0) != "0110":
            faults.append(f"the type is {reply.get(0)}")
        tally.check(f"message {at}, on the link", faults)
    print(f"  {name:<16} {spec:<16} {count:>6} messages  {tally.failed} differences")
    for line in tally.found:
        print(f"      {line}")
    for number, why in NOT_THEIRS[name].items():
        print(f"      not generated: DE{number}: {why}")
    return tally.failed


CONFIG = """
[[link]]
name = "mastercard"
listen = "127.0.0.1:{0}"

[[link]]
name = "ascii"
listen = "127.0.0.1:{1}"
spec = "iso1987-ascii"

[[link]]
name = "npm"
listen = "127.0.0.1:{2}"
spec = "{spec}"

[rest]
listen = "127.0.0.1:{3}"
"""


def main():
    binary, work, modules = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 10_000
    rng = random.Random(int(sys.argv[5]) if len(sys.argv) > 5 else 1)
    work = pathlib.Path(work)
    text = subprocess.run([binary, "spec", "show", "iso1987-ascii", "--toml"], capture_output=True, text=True, check=True).stdout
    own = work / "npm.toml"
    # The same elements, but bitmaps and binary elements are bytes.
    for line, other in ('name = "iso1987-ascii"', 'name = "npm"'), ('"hex"', '"binary"'), ('binary = "binary"', 'binary = "raw"'):
        text = text.replace(line, other)
    own.write_text(text)
    engine = Engine(binary, work)
    ports = free_ports(4)
    engine.config.write_text(CONFIG.format(*ports, spec=own))
    engine.start()
    failed = 0
    try:
        share = count // 4
        failed += exchange("pyiso8583", PyIso(specs.spec(NETWORK, "cp500", False)), "mastercard", "cp500", share, NETWORK, Cli(binary, "mastercard"), ports[0], rng)
        failed += exchange("pyiso8583", PyIso(specs.spec(STANDARD, "ascii", True)), "iso1987-ascii", "ascii", share, STANDARD, Cli(binary, "iso1987-ascii"), ports[1], rng)
        failed += exchange("cardutil", CardUtil(NETWORK), "mastercard", "cp500", share, NETWORK, Cli(binary, "mastercard"), ports[0], rng)
        rest = count - 3 * share
        if not (pathlib.Path(modules) / "iso_8583").is_dir():
            print(f"  iso_8583 (npm)   not installed: {rest} messages left out")
            count -= rest
        else:
            failed += exchange("iso_8583 (npm)", Npm(modules, STANDARD, work), "npm", "ascii", rest, STANDARD, Cli(binary, str(own)), ports[2], rng)
    finally:
        engine.stop()
    print(f"{count} messages exchanged both ways, {failed} differences")
    sys.exit(1 if failed else 0)


main()
