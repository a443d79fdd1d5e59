"""Command sets of the few DIMSE messages spoken here: implicit little endian, group 0000 (PS3.7, 6.3 and annex E)."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rtseg_daemon.dicom.wire import Fragment, PeerFault, Wire

C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
N_EVENT_REPORT_RQ, N_ACTION_RQ, C_CANCEL_RQ = 0x0100, 0x0130, 0x0FFF
RESPONSE = 0x8000
NO_DATA_SET = 0x0101

AFFECTED_CLASS, REQUESTED_CLASS, FIELD, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0003, 0x0100, 0x0110, 0x0120
MOVE_DESTINATION, PRIORITY, DATA_SET_TYPE, STATUS, ERROR_COMMENT = 0x0600, 0x0700, 0x0800, 0x0900, 0x0902
AFFECTED_INSTANCE, REQUESTED_INSTANCE, EVENT_TYPE, ACTION_TYPE = 0x1000, 0x1001, 0x1002, 0x1008
COMPLETED, FAILED, WARNING = 0x1021, 0x1022, 0x1023
UIDS = (AFFECTED_CLASS, REQUESTED_CLASS, AFFECTED_INSTANCE, REQUESTED_INSTANCE)

FEWEST_FRAGMENT_BYTES = 64
"""Average below which a message of many fragments is an attack, not an object."""

WITHOUT_DATA = (C_STORE_RQ, C_ECHO_RQ)
"""Requests whose answer never has a data set."""

PENDING = (0xFF00, 0xFF01)
SUCCESS = 0x0000
INVALID_INSTANCE = 0x0117
UNSUPPORTED_CLASS = 0x0122
NOT_AUTHORISED = 0x0124
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
WARNINGS = 0xB000
"""First digit of every warning of C-STORE."""


@dataclass(frozen=True)
class Command:
    """A command set: element number in group 0000 -> value."""

    values: dict[int, bytes]

    def number(self, element: int) -> int:
        """An unsigned short. Raises PeerFault where it is missing or no such."""
        value = self.values.get(element, b"")
        if len(value) != 2:
            raise PeerFault(f"command element (0000,{element:04X}) is missing or malformed")
        return int(struct.unpack("<H", value)[0])

    def text(self, element: int) -> str:
        """A UID or string without its padding, empty if missing. Bytes that are not ASCII become replacement marks."""
        return self.values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")

    @property
    def field(self) -> int:
        return self.number(FIELD)

    @property
    def has_data(self) -> bool:
        return self.number(DATA_SET_TYPE) != NO_DATA_SET


@dataclass(frozen=True)
class Status:
    """What a request is answered with. `comment` (64 characters at most) says why (PS3.7, 9.1.1.1 and annex C)."""

    code: int
    comment: str = ""


def decode_command(data: bytes) -> Command:
    """Parse a command set. Raises PeerFault where its lengths do not add up or it leaves group 0000."""
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


def request(field: int, message_id: int, values: Mapping[int, bytes], *, has_data: bool) -> Command:
    """A request's command set, `values` being what this kind of message has of its own."""
    common = {FIELD: field, MESSAGE_ID: message_id, DATA_SET_TYPE: 0x0000 if has_data else NO_DATA_SET}
    return Command({**values, **{element: short(number) for element, number in common.items()}})


def short(number: int) -> bytes:
    """An unsigned short as an element's value."""
    return struct.pack("<H", number)


def misfit(asked: Command, answer: Command) -> str:
    """In what a response does not belong to the one request that is outstanding, empty where it does.

    The UIDs of class and object are optional in a response (PS3.7, 9.1 and 10.1). Where they stand they must be equal.
    """
    if answer.field != asked.field | RESPONSE:
        return f"message 0x{answer.field:04X} came where 0x{asked.field | RESPONSE:04X} is the answer"
    if answer.number(RESPONDED_TO) != asked.number(MESSAGE_ID):
        return f"message {answer.number(RESPONDED_TO)} was answered, and {asked.number(MESSAGE_ID)} was asked"
    for ours, theirs, what in (
        (AFFECTED_CLASS, AFFECTED_CLASS, "class"),
        (REQUESTED_CLASS, AFFECTED_CLASS, "class"),
        (AFFECTED_INSTANCE, AFFECTED_INSTANCE, "object"),
        (REQUESTED_INSTANCE, AFFECTED_INSTANCE, "object"),
    ):
        if asked.text(ours) and answer.text(theirs) not in ("", asked.text(ours)):
            return f"the answer is about {what} {answer.text(theirs)[:64]!r} and not the one that was asked about"
    if answer.has_data and asked.field in WITHOUT_DATA:
        return "the answer has a data set, which this kind never has"
    return ""


def read_command(wire: Wire, fragment: Fragment) -> Command:
    """Gather a command set from its first fragment on. Raises PeerFault where it is too large or mixed."""
    context_id, data = fragment.context_id, bytearray()
    while True:
        if not fragment.is_command or fragment.context_id != context_id:
            raise PeerFault("a command set was expected")
        data += fragment.data
        if len(data) > wire.limits.command_bytes:
            raise PeerFault(f"a command set larger than {wire.limits.command_bytes} bytes")
        if fragment.is_last:
            return decode_command(bytes(data))
        fragment = wire.read_fragment()


def read_data(wire: Wire, context_id: int) -> Iterator[memoryview]:
    """The pieces of a data set. Raises PeerFault where they are interrupted or endlessly small."""
    count, size = 0, 0
    while True:
        fragment = wire.read_fragment()
        if fragment.is_command or fragment.context_id != context_id:
            raise PeerFault("a data set was expected")
        count, size = count + 1, size + len(fragment.data)
        if count > 1000 and size < count * FEWEST_FRAGMENT_BYTES:
            raise PeerFault("a data set in endlessly small fragments")
        yield fragment.data
        if fragment.is_last:
            return


def read_small_data(wire: Wire, context_id: int, largest: int) -> bytes:
    """A whole data set. Raises PeerFault where it is larger than `largest` bytes."""
    data = bytearray()
    for piece in read_data(wire, context_id):
        if len(data) + len(piece) > largest:
            raise PeerFault(f"a data set larger than {largest} bytes")
        data += piece
    return bytes(data)


def encode_command_set(values: Mapping[int, bytes]) -> bytes:
    """Group length first, elements ascending, every value of even length."""
    body = b""
    for element in sorted(values):
        value = values[element]
        value += (b"\0" if element in UIDS else b" ") * (len(value) % 2)
        body += struct.pack("<HHI", 0, element, len(value)) + value
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body
