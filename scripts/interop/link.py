"""One connection to a link: pyiso8583 for the messages, a two-byte length around them."""

import socket

import iso8583


class Link:
    def __init__(self, port, spec):
        self.port, self.spec = port, spec
        self.socket = None

    def connect(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = socket.create_connection(("127.0.0.1", self.port), 5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(5)

    def encode(self, message):
        """`message`: element numbers to text, and "t" to the message type."""
        raw, _ = iso8583.encode({"h": "", **{str(key): text for key, text in message.items()}}, self.spec)
        return bytes(raw)

    def decode(self, raw):
        decoded, _ = iso8583.decode(raw, self.spec)
        # The bitmaps and the empty header are the codec's business; what they say is checked by what was decoded.
        return {
            (key if key == "t" else int(key)): text for key, text in decoded.items() if key not in ("h", "p", "1")
        }

    def exchange(self, raw):
        """Sends one message; its reply's bytes, or None when none comes."""
        self.socket.sendall(len(raw).to_bytes(2, "big") + raw)
        try:
            return self._read(int.from_bytes(self._read(2), "big"))
        except TimeoutError:
            return None

    def _read(self, count):
        parts = b""
        while len(parts) < count:
            more = self.socket.recv(count - len(parts))
            if not more:
                raise ConnectionError("the engine closed the link")
            parts += more
        return parts
