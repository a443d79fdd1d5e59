"""A walk over an encoded data set that trusts nothing in it: bounds on depth and count, and no pixel is decoded.

The reception path must know an object's UIDs, class, geometry and pixel length before it answers. This walk gives the
raw values of the wanted top-level elements and where the pixel data lie. It recurses nowhere (PS3.5, 7.1 and 7.5).
"""

import struct
from collections.abc import Container
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from rtseg_daemon.errors import RtsegError

MAXIMUM_DEPTH = 32
MAXIMUM_ELEMENTS = 100_000
LARGEST_WANTED = 64 * 1024
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_FORM = frozenset((b"OB", b"OD", b"OF", b"OL", b"OW", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
SHORT_FORM = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())


class ScanError(RtsegError):
    """The bytes are no complete data set in the negotiated transfer syntax, or one nested or cut up beyond reason.

    `seen` is what stood before the place that does not add up.
    """

    seen: "Scan | None" = None


@dataclass(frozen=True)
class Pixels:
    """Where the pixel data lie: `[start, stop)` in the buffer, fragments' headers included where encapsulated."""

    start: int
    stop: int
    encapsulated: bool


@dataclass(frozen=True)
class Scan:
    """Raw values of the wanted elements, without trailing padding, and the place of the pixel data if there are any."""

    values: dict[int, bytes]
    pixels: Pixels | None
    big_endian: bool

    def text(self, tag: int) -> str:
        """An element of ASCII characters. Anything else in it becomes a replacement mark."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip()

    def number(self, tag: int) -> int:
        """An unsigned short (VR US), 0 if absent or malformed."""
        value = self.values.get(tag, b"")
        return int.from_bytes(value[:2], "big" if self.big_endian else "little")

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Decimal strings (VR DS), empty if any of them is no number."""
        try:
            return tuple(float(part) for part in self.text(tag).split("\\") if part.strip())
        except ValueError:
            return ()


def scan(data: memoryview, transfer_syntax: str, wanted: Container[int], most_elements: int = MAXIMUM_ELEMENTS) -> Scan:
    """Walk `data`, a data set without file meta information. Raises ScanError wherever it does not add up."""
    implicit, big = transfer_syntax == ImplicitVRLittleEndian, transfer_syntax == ExplicitVRBigEndian
    walker = Walker(data, implicit, big, most_elements)
    try:
        walker.walk(wanted)
    except ScanError as error:
        error.seen = Scan(walker.values, None, walker.big)
        raise
    return Scan(walker.values, walker.pixels, walker.big)


class Walker:
    """One pass over one buffer. The stack holds, per open sequence or item: its end, its kind, and its encoding."""

    def __init__(self, data: memoryview, implicit: bool, big: bool, most_elements: int = MAXIMUM_ELEMENTS) -> None:
        self.data = data
        self._most_elements = most_elements
        self.big = big
        self.values: dict[int, bytes] = {}
        self.pixels: Pixels | None = None
        self._implicit = implicit
        self._order = ">" if big else "<"
        self._count = 0
        self._stack: list[tuple[int, bool, bool]] = []  # end or UNDEFINED, is an item, implicit VR

    def walk(self, wanted: Container[int]) -> None:
        offset = 0
        while offset < len(self.data) or self._stack:
            offset = self._leave_finished(offset)
            if offset >= len(self.data):
                if self._stack:
                    raise ScanError("the data set ends inside a sequence")
                break
            self._count += 1
            if self._count > self._most_elements:
                raise ScanError(f"more than {self._most_elements} elements")
            offset = self._step(offset, wanted)

    def _leave_finished(self, offset: int) -> int:
        """Close sequences and items of known length that end here."""
        while self._stack and self._stack[-1][0] != UNDEFINED and offset >= self._stack[-1][0]:
            if offset > self._stack[-1][0]:
                raise ScanError("an element reaches beyond its sequence")
            self._implicit = self._stack.pop()[2]
        return offset

    def _step(self, offset: int, wanted: Container[int]) -> int:
        """Consume one element's header, and its value unless that is a sequence. Returns the next offset."""
        tag = self._tag(offset)
        if tag >> 16 == 0xFFFE:
            return self._delimiter(tag, offset)
        if self._stack and not self._stack[-1][1]:
            raise ScanError("an element stands where a sequence item should")
        vr, length, start = self._header(tag, offset)
        if tag == PIXEL_DATA and length == UNDEFINED:
            return self._encapsulated(start)
        if vr == b"SQ" or length == UNDEFINED:
            self._enter(UNDEFINED if length == UNDEFINED else self._end(start, length), is_item=False, vr=vr)
            return start
        end = self._end(start, length)
        if not self._stack:
            self._keep(tag, start, end, wanted)
        return end

    def _keep(self, tag: int, start: int, end: int, wanted: Container[int]) -> None:
        if tag >> 16 < 0x0004:
            raise ScanError(f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) does not belong in a data set")
        if tag == PIXEL_DATA:
            self.pixels = Pixels(start, end, encapsulated=False)
        elif tag in wanted:
            if end - start > LARGEST_WANTED or tag in self.values:
                raise ScanError(f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) is too long or stands twice")
            self.values[tag] = (
                bytes(self.data[start:end]) if end - start == 2 else bytes(self.data[start:end]).rstrip(b"\0 ")
            )

    def _tag(self, offset: int) -> int:
        if offset + 8 > len(self.data):
            raise ScanError("the data set ends inside an element")
        group, element = struct.unpack_from(self._order + "HH", self.data, offset)
        return int(group << 16 | element)

    def _header(self, tag: int, offset: int) -> tuple[bytes, int, int]:
        """VR, length, and where the value starts."""
        if self._implicit:
            length = struct.unpack_from(self._order + "I", self.data, offset + 4)[0]
            return implicit_vr(tag), length, offset + 8
        vr = bytes(self.data[offset + 4 : offset + 6])
        if vr in SHORT_FORM:
            return vr, struct.unpack_from(self._order + "H", self.data, offset + 6)[0], offset + 8
        if vr not in LONG_FORM:
            raise ScanError("an element has no known value representation; is this another transfer syntax?")
        if offset + 12 > len(self.data):
            raise ScanError("the data set ends inside an element")
        return vr, struct.unpack_from(self._order + "I", self.data, offset + 8)[0], offset + 12

    def _end(self, start: int, length: int) -> int:
        limit = min((end for end, _, _ in self._stack[-1:] if end != UNDEFINED), default=len(self.data))
        if length > len(self.data) - start or start + length > limit:
            raise ScanError("an element is longer than what holds it")
        return start + length

    def _enter(self, end: int, *, is_item: bool, vr: bytes = b"") -> None:
        if len(self._stack) >= 2 * MAXIMUM_DEPTH:
            raise ScanError(f"sequences are nested more than {MAXIMUM_DEPTH} deep")
        self._stack.append((end, is_item, self._implicit))
        if vr == b"UN":
            self._implicit = True  # an unknown sequence of undefined length is implicit inside (PS3.5, 6.2.2)

    def _delimiter(self, tag: int, offset: int) -> int:
        """An item begins, or an item or sequence of undefined length ends."""
        length = struct.unpack_from(self._order + "I", self.data, offset + 4)[0]
        in_item = bool(self._stack) and self._stack[-1][1]
        if tag == ITEM and self._stack and not in_item:
            self._enter(UNDEFINED if length == UNDEFINED else self._end(offset + 8, length), is_item=True)
        elif self._stack and self._stack[-1][0] == UNDEFINED and tag == (ITEM_END if in_item else SEQUENCE_END):
            self._implicit = self._stack.pop()[2]
        else:
            raise ScanError("a sequence delimiter stands where none belongs")
        return offset + 8

    def _encapsulated(self, start: int) -> int:
        """Skip compressed pixel data, fragment by fragment (PS3.5, A.4)."""
        offset = start
        while True:
            tag = self._tag(offset)
            length = struct.unpack_from(self._order + "I", self.data, offset + 4)[0]
            self._count += 1
            if tag == SEQUENCE_END:
                break
            if tag != ITEM or length == UNDEFINED or self._count > self._most_elements:
                raise ScanError("compressed pixel data are not a sequence of fragments")
            offset = self._end(offset + 8, length)
        if not self._stack:
            self.pixels = Pixels(start, offset, encapsulated=True)
        return offset + 8


def implicit_vr(tag: int) -> bytes:
    """SQ where the dictionary says so, else nothing: only sequences matter to the walk."""
    if tag >> 16 & 1 or tag in NOT_SEQUENCES:
        return b""
    try:
        found = dictionary_VR(tag)
    except KeyError:
        return b""
    return b"SQ" if found == "SQ" else b""


NOT_SEQUENCES = frozenset((PIXEL_DATA, 0x00080018, 0x00080016, 0x00200032, 0x00200037))
