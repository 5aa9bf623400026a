"""Holds what tshark says with a generated dissector to what `auth-engine decode` says, message by message."""

import json
import pathlib
import socket
import struct
import subprocess
import sys
import time

ENGINE, WORK = sys.argv[1], pathlib.Path(sys.argv[2])
FIXTURES = pathlib.Path("fixtures/messages")
PORT = 8583


def fixtures(spec):
    """The messages of a spec's fixtures."""
    for path in sorted(FIXTURES.glob(f"{spec}-[0-9]*.hex")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        yield path.name, bytes.fromhex("".join(lines))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pcap(messages):
    """A capture of one connection: every other message is split over two packets."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)]
    sequence = 1
    for number, message in enumerate(messages):
        frame = struct.pack("!H", len(message)) + message
        cuts = [frame] if number % 2 else [frame[:7], frame[7:]]
        for piece in cuts:
            tcp = struct.pack("!HHIIBBHHH", 40000, PORT, sequence, 1, 5 << 4, 0x18, 1024, 0, 0) + piece
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
            head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
            packet = head + tcp
            out.append(struct.pack("<IIII", 1_700_000_000 + number, 0, len(packet), len(packet)) + packet)
            sequence += len(piece)
    return b"".join(out)


def dissected(spec, script, source):
    """Per message: element number to what tshark shows."""
    proto = "iso8583_" + spec.replace("-", "_")
    command = ["tshark", "-n", "-X", f"lua_script:{script}", "-r", source, "-Y", proto, "-T", "pdml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Ran as root it warns of that; a fault of the script names it.
    if "lua" in done.stderr.lower() and "error" in done.stderr.lower():
        sys.exit(f"tshark: {done.stderr}")
    import xml.etree.ElementTree as tree

    messages = []
    for node in tree.fromstring(done.stdout).iter("proto"):
        if node.get("name") == proto:
            fields = {field.get("name").removeprefix(f"{proto}."): field.get("show") for field in node.iter("field")}
            messages.append(fields)
    return messages


def decoded(spec, messages):
    text = "\n".join(message.hex() for message in messages)
    done = subprocess.run(
        [ENGINE, "decode", "--spec", spec, "--json"], input=text, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(spec, script, source, messages):
    ours, theirs = decoded(spec, messages), dissected(spec, script, source)
    found = []
    if len(ours) != len(theirs):
        found.append(f"{len(ours)} messages, tshark shows {len(theirs)}")
    for number, (our, their) in enumerate(zip(ours, theirs)):
        if their.get("fault"):
            found.append(f"message {number}: {their['fault']}")
        if their.get("mti") != our["mti"]:
            found.append(f"message {number}: type {their.get('mti')}, not {our['mti']}")
        for n, element in our["fields"].items():
            value = element["value"] if isinstance(element["value"], str) else None
            said = their.get(f"de{n}")
            if said is None:
                found.append(f"message {number}: DE{n} is missing")
            elif value is not None and value.isascii() and value.isprintable() and said.strip() != value.strip():
                found.append(f"message {number}: DE{n} is {said!r}, not {value!r}")
    return found, len(ours), sum(len(our["fields"]) for our in ours)


def main():
    bad = 0
    listed = subprocess.run([ENGINE, "spec", "list", "--json"], capture_output=True, text=True, check=True).stdout
    for spec in [one["name"] for one in json.loads(listed)]:
        script = WORK / f"{spec}.lua"
        lua = subprocess.run([ENGINE, "spec", "dissector", spec], capture_output=True, check=True).stdout
        script.write_bytes(lua)
        messages = [message for _, message in fixtures(spec)]
        source = WORK / f"{spec}.pcap"
        source.write_bytes(pcap(messages))
        found, count, elements = differences(spec, script, source, messages)
        print(f"{spec}: {count} messages, {elements} elements, {len(found)} differences")
        for line in found:
            print(f"  {line}")
        bad += len(found)
    bad += live()
    sys.exit(1 if bad else 0)


def live():
    """An echo through the engine's own port, captured on loopback."""
    data = WORK / "data"
    config = WORK / "engine.toml"
    config.write_text(f'data_dir = "{data}"\n[[link]]\nname = "m"\nlisten = "127.0.0.1:0"\n[rest]\nlisten = "127.0.0.1:0"\n')
    engine = subprocess.Popen([ENGINE, "serve", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = None
        for line in engine.stdout:
            if "link" in line and ":" in line:
                port = port or int("".join(ch for ch in line.rsplit(":", 1)[1].split()[0] if ch.isdigit()))
            if line.startswith("ready"):
                break
        source = WORK / "live.pcap"
        capture = subprocess.Popen(
            ["tshark", "-n", "-q", "-i", "lo", "-f", f"tcp port {port}", "-F", "pcap", "-w", source],
            stderr=subprocess.PIPE, text=True,
        )
        for line in capture.stderr:
            if "Capturing on" in line:
                break
        else:
            print("live: packets cannot be captured here; skipped")
            return 0
        # It says so a moment before it does.
        for _ in range(100):
            if source.exists() and source.stat().st_size >= 24:
                break
            time.sleep(0.05)
        name, request = next((name, m) for name, m in fixtures("mastercard") if "sign-on" in name)
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(struct.pack("!H", len(request)) + request)
            size = struct.unpack("!H", link.recv(2, socket.MSG_WAITALL))[0]
            reply = link.recv(size, socket.MSG_WAITALL)
        for _ in range(100):
            if source.stat().st_size > 24 + 10 * 60:
                break
            time.sleep(0.05)
        capture.terminate()
        capture.wait()
        lua = subprocess.run([ENGINE, "spec", "dissector", "mastercard", "--tcp-port", str(port)], capture_output=True, check=True).stdout
        script = WORK / "live.lua"
        script.write_bytes(lua)
        found, count, elements = differences("mastercard", script, source, [request, reply])
        print(f"the engine's own port: {count} messages, {elements} elements, {len(found)} differences")
        for line in found:
            print(f"  {line}")
        return len(found)
    finally:
        engine.terminate()
        engine.wait()


main()
