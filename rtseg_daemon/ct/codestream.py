"""What a compressed frame says of itself in its first bytes: checked against the header before it is decoded."""

import struct
from dataclasses import dataclass

SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start of frame of JPEG (ITU-T T.81, table B.1) and JPEG-LS (T.87)."""


@dataclass(frozen=True)
class FrameFacts:
    """Size in pixels, bits per sample, samples per pixel, and signedness where the format states it."""

    rows: int
    columns: int
    bits: int
    samples: int
    signed: bool | None


def frame_facts(frame: bytes) -> FrameFacts | None:
    """Facts of a JPEG, JPEG-LS or JPEG 2000 frame, or None if it is none of them or is cut short."""
    try:
        if frame.startswith(b"\xff\xd8"):
            return _jpeg(frame)
        start = frame.find(b"\xff\x4f\xff\x51")
        return _jpeg2000(frame[start:]) if 0 <= start < 4096 else None
    except (struct.error, IndexError):
        return None


def _jpeg(frame: bytes) -> FrameFacts | None:
    """Walk the marker segments to the start of frame (T.81 B.2.2)."""
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in SOF_MARKERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return FrameFacts(rows, columns, bits, samples, None)
        at += 2 + int(struct.unpack_from(">H", frame, at + 2)[0])
    return None


def _jpeg2000(stream: bytes) -> FrameFacts:
    """The SIZ segment, which follows the start of the codestream (T.800 A.5.1)."""
    width, height, left, top = struct.unpack_from(">4I", stream, 8)
    samples, precision = struct.unpack_from(">HB", stream, 40)
    return FrameFacts(height - top, width - left, (precision & 0x7F) + 1, samples, bool(precision & 0x80))
