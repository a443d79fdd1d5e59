"""DIMSE status codes in words (PS3.7 annex C and PS3.4 C.4)."""

GENERAL = {
    0x0000: "success",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "refused: SOP class not supported",
    0x0124: "refused: not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xFE00: "cancelled",
}
QUERY = {
    0xA700: "refused: out of resources",
    0xA701: "refused: out of resources, unable to calculate the number of matches",
    0xA702: "refused: out of resources, unable to perform the sub-operations",
    0xA801: "refused: move destination unknown",
    0xA900: "the identifier does not match the SOP class",
    0xB000: "sub-operations complete, with one or more failures or warnings",
    0xFF00: "pending",
    0xFF01: "pending",
}
"""What C-FIND, C-MOVE and C-GET add (PS3.4, C.4.1.1.4, C.4.2.1.5, C.4.3.1.4)."""

MOVE_DESTINATION_UNKNOWN = 0xA801
UNABLE_TO_PROCESS = 0xC000
LONGEST_COMMENT = 64


def words(code: int) -> str:
    """What a status means for a C-ECHO or a question of ours to an archive."""
    if code in GENERAL or code in QUERY:
        return GENERAL.get(code) or QUERY[code]
    return "unable to process" if code & 0xF000 == UNABLE_TO_PROCESS else "a status that the standard does not define"


def told(code: int, comment: str = "") -> str:
    """A status with its number, its meaning and the peer's own comment (ErrorComment), which is a stranger's text."""
    said = "".join(letter if letter.isprintable() else "." for letter in comment[:LONGEST_COMMENT])
    return f"0x{code:04X}, {words(code)}" + (f"; it says: {said}" if said else "")
