"""The head of a DICOM file that is written for an object as it came, and what a UID looks like (PS3.10, PS3.5)."""

import re

from pydicom.uid import UID

from rtseg_daemon.dicom.implementation import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION

UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Digits and dots, 64 characters at most (PS3.5, 9.1). Leading zeros are let pass: real scanners send them."""
    return len(text) <= 64 and UID_FORM.fullmatch(text) is not None


def file_head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble and file meta information (PS3.10, 7.1), the same for the same object whoever sent it."""
    elements = [
        element(0x0001, b"OB", b"\0\1"),
        element(0x0002, b"UI", sop_class.encode()),
        element(0x0003, b"UI", sop_instance.encode()),
        element(0x0010, b"UI", str(UID(transfer_syntax)).encode()),
        element(0x0012, b"UI", IMPLEMENTATION_UID.encode()),
        element(0x0013, b"SH", IMPLEMENTATION_VERSION.encode()),
    ]
    body = b"".join(elements)
    return bytes(128) + b"DICM" + element(0x0000, b"UL", len(body).to_bytes(4, "little")) + body


def element(number: int, vr: bytes, value: bytes) -> bytes:
    """One element of group 0002, explicit VR little endian, padded to even length."""
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    long_form = b"\0\0" + len(value).to_bytes(4, "little") if vr == b"OB" else len(value).to_bytes(2, "little")
    return b"\2\0" + number.to_bytes(2, "little") + vr + long_form + value
