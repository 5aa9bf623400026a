"""What a reply must be, element by element: the documentation's words as code. It knows no socket."""

RETURNED = [2, 3, 4, 5, 6, 7, 9, 10, 11, 15, 16, 20, 28, 32, 33, 37, 41, 49, 50, 51, 62, 63]
RETURNED_REVERSAL = RETURNED + [90, 95]
RETURNED_NETWORK = [7, 11, 33, 63, 70, 94, 96]
NEVER = [12, 13, 14, 18, 22, 23, 26, 35, 42, 43, 45, 52, 53, 55, 61]
RESPONSES = {"0100": "0110", "0101": "0110", "0120": "0130", "0400": "0410", "0620": "0630", "0800": "0810"}
APPROVED = ("00", "08", "10", "85")

# A value that only the engine can know: checked by its form.
ANY_APPROVAL_CODE = "six digits, not 000000"


def additional_data(sent):
    """DE48 of a reply: the class byte, then sub-elements 42, 43 and 63; None when nothing of it comes back."""
    if not sent:
        return None
    kept, rest = ("", sent) if sent[0].isdigit() else (sent[0], sent[1:])
    found = {}
    while rest:
        tag, length = rest[:2], int(rest[2:4])
        found.setdefault(tag, rest[: 4 + length])
        rest = rest[4 + length :]
    return (kept + "".join(found[tag] for tag in ("42", "43", "63") if tag in found)) or None


def expected(request, code, tagged, **set_by_engine):
    """The whole reply to `request`. `tagged`: the spec knows DE48's sub-elements."""
    kind = request["t"]
    if kind[1] == "8":
        returned = RETURNED_NETWORK
    elif kind[1] == "4":
        returned = RETURNED_REVERSAL
    else:
        returned = RETURNED
    reply = {"t": RESPONSES[kind], 39: code}
    reply.update({number: request[number] for number in returned if number in request})
    if kind[1] != "8" and tagged and (kept := additional_data(request.get(48))):
        reply[48] = kept
    if kind in ("0100", "0101") and code in APPROVED:
        reply[38] = ANY_APPROVAL_CODE
    if kind == "0120" and 38 in request:
        reply[38] = request[38]
    if kind == "0620" and 60 in request:
        reply[60] = request[60]
    for name, value in set_by_engine.items():
        reply[int(name.removeprefix("de"))] = value
    return {key: value for key, value in reply.items() if value is not None}


def differences(got, wanted, optional=()):
    """One sentence per element that is not as it must be. `optional` ones may be absent, never different."""
    faults = []
    for key in sorted(set(got) | set(wanted), key=str):
        name = "message type" if key == "t" else f"DE{key}"
        if key not in wanted:
            faults.append(f"{name} must not be returned, is {shown(key, got[key])}")
        elif key not in got:
            if key not in optional:
                faults.append(f"{name} is missing, must be {shown(key, wanted[key])}")
        elif wanted[key] == ANY_APPROVAL_CODE:
            if not (len(got[key]) == 6 and got[key].isdigit() and got[key] != "000000"):
                faults.append(f"{name} is {got[key]!r}, must be {ANY_APPROVAL_CODE}")
        elif got[key] != wanted[key]:
            faults.append(f"{name} is {shown(key, got[key])}, must be {shown(key, wanted[key])}")
    return faults


def shown(key, text):
    """Card numbers and tracks are not printed, not even test ones."""
    return f"({len(text)} characters)" if key in (2, 35, 45) else repr(text)
