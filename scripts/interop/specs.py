"""Two message specs for pyiso8583, written from public facts and not from the engine's own spec files.

An element is "form length": n, an, ans, x (sign + digits), b (bytes); "..19" has a two-digit length, "...999" three.
"""

ELEMENTS = {
    2: "n ..19", 3: "n 6", 4: "n 12", 5: "n 12", 6: "n 12", 7: "n 10", 8: "n 8", 9: "n 8", 10: "n 8", 11: "n 6",
    12: "n 6", 13: "n 4", 14: "n 4", 15: "n 4", 16: "n 4", 17: "n 4", 18: "n 4", 19: "n 3", 20: "n 3", 21: "n 3",
    22: "n 3", 23: "n 3", 25: "n 2", 26: "n 2", 28: "x 9", 32: "n ..11", 33: "n ..11", 35: "ans ..37", 37: "an 12",
    38: "ans 6", 39: "an 2", 41: "ans 8", 42: "ans 15", 43: "ans 40", 44: "ans ..25", 45: "ans ..76", 48: "ans ...999",
    49: "n 3", 50: "n 3", 51: "n 3", 52: "b 8", 53: "n 16", 54: "ans ...120", 55: "b ...255", 60: "ans ...60",
    61: "ans ...26", 62: "ans ...100", 63: "an ...50", 70: "n 3", 90: "n 42", 94: "ans 7", 95: "n 42", 96: "n 8",
    102: "ans ..28", 103: "ans ..28",
}

# The standard itself, where it is not what the network made of it.
STANDARD = {55: "ans ...999", 60: "ans ...999", 61: "ans ...999", 62: "ans ...999", 63: "ans ...999", 96: "b 8"}


def _field(form, charset, binary_as_hex):
    kind, length = form.split()
    prefix = length.count(".")
    most = int(length.lstrip("."))
    if kind == "b" and binary_as_hex:
        return {"data_enc": "ascii", "len_enc": charset, "len_type": prefix, "max_len": 2 * most, "desc": kind}
    return {
        "data_enc": "b" if kind == "b" else charset,
        "len_enc": charset,
        "len_type": prefix,
        "max_len": most,
        "desc": kind,
    }


def spec(elements, charset, binary_as_hex):
    """A spec of pyiso8583 with these elements."""
    bitmap = _field("b 8", charset, binary_as_hex)
    nothing = {"data_enc": charset, "len_enc": charset, "len_type": 0, "max_len": 0, "desc": "header"}
    made = {"h": nothing, "t": _field("n 4", charset, False), "p": bitmap, "1": bitmap}
    for number in range(2, 129):
        made[str(number)] = _field(elements.get(number, "ans ...999"), charset, binary_as_hex)
    return made


# Text in EBCDIC code page 500, bitmaps and binary elements as bytes.
MASTERCARD = spec(ELEMENTS, "cp500", False)
# Text in ASCII, bitmaps and binary elements as hexadecimal characters.
ISO1987_ASCII = spec({**ELEMENTS, **STANDARD}, "ascii", True)
