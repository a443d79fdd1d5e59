"""Command sets of the few DIMSE messages spoken here: implicit little endian, group 0000 (PS3.7, 6.3 and annex E)."""

import struct
from dataclasses import dataclass

from rtseg_daemon.dicom.wire import PeerFault

C_STORE_RQ, C_ECHO_RQ, N_EVENT_REPORT_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0100, 0x0FFF
RESPONSE = 0x8000
NO_DATA_SET = 0x0101

AFFECTED_CLASS, FIELD, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
DATA_SET_TYPE, STATUS, ERROR_COMMENT, AFFECTED_INSTANCE, EVENT_TYPE = 0x0800, 0x0900, 0x0902, 0x1000, 0x1002

SUCCESS = 0x0000
INVALID_INSTANCE = 0x0117
UNSUPPORTED_CLASS = 0x0122
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True)
class Command:
    """A request's command set: element number in group 0000 -> value."""

    values: dict[int, bytes]

    def number(self, element: int) -> int:
        """An unsigned short; raises PeerFault where it is missing or no such."""
        value = self.values.get(element, b"")
        if len(value) != 2:
            raise PeerFault(f"command element (0000,{element:04X}) is missing or malformed")
        return int(struct.unpack("<H", value)[0])

    def text(self, element: int) -> str:
        """A UID or string without its padding; empty if missing. Bytes that are not ASCII become replacement marks."""
        return self.values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")

    @property
    def field(self) -> int:
        return self.number(FIELD)

    @property
    def has_data(self) -> bool:
        return self.number(DATA_SET_TYPE) != NO_DATA_SET


@dataclass(frozen=True)
class Status:
    """What a request is answered with; `comment` (64 characters at most) says why (PS3.7, 9.1.1.1 and annex C)."""

    code: int
    comment: str = ""


def decode_command(data: bytes) -> Command:
    """Parse a command set; raises PeerFault where its lengths do not add up or it leaves group 0000."""
    values: dict[int, bytes] = {}
    offset = 0
    while offset < len(data):
        if offset + 8 > len(data):
            raise PeerFault("a command set ends inside an element")
        group, element, length = struct.unpack_from("<HHI", data, offset)
        end = offset + 8 + length
        if group != 0 or end > len(data):
            raise PeerFault("a command set holds an element that does not belong there or is cut off")
        values[element] = data[offset + 8 : end]
        offset = end
    return Command(values)


def encode_response(request: Command, status: Status) -> bytes:
    """The command set of the response to `request`."""
    values = {
        AFFECTED_CLASS: request.values.get(AFFECTED_CLASS, b""),
        FIELD: struct.pack("<H", request.field | RESPONSE),
        RESPONDED_TO: struct.pack("<H", request.number(MESSAGE_ID)),
        DATA_SET_TYPE: struct.pack("<H", NO_DATA_SET),
        STATUS: struct.pack("<H", status.code),
    }
    if status.comment:
        values[ERROR_COMMENT] = status.comment[:64].encode("ascii", "replace")
    for element in (AFFECTED_INSTANCE, EVENT_TYPE):
        if element in request.values:
            values[element] = request.values[element]
    return encode_command_set(values)


def encode_command_set(values: dict[int, bytes]) -> bytes:
    """Group length first, elements ascending, every value of even length."""
    body = b""
    for element in sorted(values):
        value = values[element]
        value += (b"\0" if element in (AFFECTED_CLASS, AFFECTED_INSTANCE) else b" ") * (len(value) % 2)
        body += struct.pack("<HHI", 0, element, len(value)) + value
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body
