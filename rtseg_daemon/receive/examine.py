"""What a received CT object says of itself, and whether its bytes are fit to be kept. Pure. No pixel is decoded."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import CTImageStorage, UncompressedTransferSyntaxes

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.charsets import comparable, decoded
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.part10 import is_uid
from rtseg_daemon.dicom.scan import Scan, ScanError, scan

CHARSET, IMAGE_TYPE, SOP_CLASS, SOP_INSTANCE, MODALITY = 0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060
DESCRIPTION, BODY_PART, NAME, PATIENT_ID, BIRTH_DATE = 0x0008103E, 0x00180015, 0x00100010, 0x00100020, 0x00100030
THICKNESS, STUDY, SERIES, ACQUISITION, INSTANCE = 0x00180050, 0x0020000D, 0x0020000E, 0x00200012, 0x00200013
POSITION, ORIENTATION, FRAME, SAMPLES, FRAMES = 0x00200032, 0x00200037, 0x00200052, 0x00280002, 0x00280008
MANUFACTURER, MODEL, STATION = 0x00080070, 0x00081090, 0x00081010
ROWS, COLUMNS, SPACING, BITS, INTERCEPT, SLOPE = 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00281052, 0x00281053
WANTED = frozenset(value for name, value in list(globals().items()) if name.isupper() and isinstance(value, int))

IDENTITY = {
    PATIENT_ID: "PatientID",
    NAME: "PatientName",
    BIRTH_DATE: "PatientBirthDate",
    STUDY: "StudyInstanceUID",
    FRAME: "FrameOfReferenceUID",
}
"""What says whose object it is, and what reasons call it."""

UNCOMPRESSED = frozenset(map(str, UncompressedTransferSyntaxes))


@dataclass(frozen=True)
class Examined:
    """A received object that is fit to be kept.

    Args:
        identity_sha256, identity_bytes_sha256, geometry_sha256: see `ledger.arrivals.Arrival`.
        facts: what assembly wants to know of the slice, without names.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    patient_id: str = field(repr=False)
    modality: str
    body_part: str
    description: str = field(repr=False)
    identity_sha256: str
    identity_bytes_sha256: str
    geometry_sha256: str
    facts: dict[str, Any]


def examine(data: memoryview, transfer_syntax: str, sop_class: str, sop_instance: str) -> Examined | Status:
    """Judge the data set that came with a C-STORE of this class and instance: its facts, or why it is refused."""
    try:
        found = scan(data, transfer_syntax, WANTED)
    except ScanError as error:
        return Status(dimse.CANNOT_UNDERSTAND, str(error))
    problem = uid_problem(found, sop_class, sop_instance) or pixel_problem(found, transfer_syntax)
    if problem is not None:
        return problem
    charsets = found.text(CHARSET)
    identity = identity_of(found)
    return Examined(
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        series_uid=found.text(SERIES),
        study_uid=found.text(STUDY),
        patient_id=shown_text(found.values.get(PATIENT_ID, b""), charsets),
        modality=found.text(MODALITY),
        body_part=shown_text(found.values.get(BODY_PART, b""), charsets),
        description=shown_text(found.values.get(DESCRIPTION, b""), charsets),
        identity_sha256=digest_of([text.encode() for text in identity.values()]),
        identity_bytes_sha256=digest_of([found.values.get(tag, b"") for tag in IDENTITY]),
        geometry_sha256=geometry_digest(found),
        facts=facts_of(found, transfer_syntax) | {"identity": digests_of(identity, sop_instance)},
    )


def named_series(beginning: memoryview, transfer_syntax: str) -> str:
    """The SeriesInstanceUID that the beginning of a data set tells, however it goes on, empty if it tells none."""
    try:
        found = scan(beginning, transfer_syntax, WANTED)
    except ScanError as error:
        if error.seen is None:
            return ""
        found = error.seen
    return found.text(SERIES) if is_uid(found.text(SERIES)) else ""


def uid_problem(found: Scan, sop_class: str, sop_instance: str) -> Status | None:
    """The data set's own UIDs are there, well formed, and those of the command."""
    for tag, name in ((STUDY, "StudyInstanceUID"), (SERIES, "SeriesInstanceUID"), (SOP_INSTANCE, "SOPInstanceUID")):
        if not found.text(tag):
            return Status(dimse.CANNOT_UNDERSTAND, f"{name} is missing")
        if not is_uid(found.text(tag)):
            return Status(dimse.INVALID_INSTANCE, f"{name} is malformed")
    if found.text(SOP_CLASS) != sop_class or found.text(SOP_INSTANCE) != sop_instance:
        return Status(dimse.DOES_NOT_MATCH_CLASS, "command and data set name different objects")
    return None


def pixel_problem(found: Scan, transfer_syntax: str) -> Status | None:
    """The pixel data are there, at least as long as matrix and depth say, and encapsulated exactly when compressed.

    Longer ones are kept as they came: receivers should be prepared for them (PS3.5 8.1.1).
    """
    if found.pixels is None:
        return Status(dimse.CANNOT_UNDERSTAND, "no pixel data")
    if found.pixels.encapsulated == (transfer_syntax in UNCOMPRESSED):
        return Status(dimse.CANNOT_UNDERSTAND, "pixel data are not encoded as negotiated")
    length = found.pixels.stop - found.pixels.start
    expected = expected_pixel_bytes(found)
    if expected <= 0 or length == 0:
        return Status(dimse.CANNOT_UNDERSTAND, "rows, columns, bits or pixel data are empty")
    if not found.pixels.encapsulated and length < expected:
        return Status(dimse.CANNOT_UNDERSTAND, f"pixel data have {length} bytes, at least {expected} are needed")
    return None


def expected_pixel_bytes(found: Scan) -> int:
    """Rows x columns x samples x frames x bytes per value, or 0 if the header does not say or says nonsense."""
    frames = found.numbers(FRAMES) or (1.0,)
    bits = found.number(BITS)
    if bits % 8 or not 1 <= frames[0] <= 65535:
        return 0
    return found.number(ROWS) * found.number(COLUMNS) * max(found.number(SAMPLES), 1) * int(frames[0]) * bits // 8


def digest_of(parts: list[bytes]) -> str:
    """SHA-256 over the parts, each with its length before it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


def identity_of(found: Scan) -> dict[str, str]:
    """What says whose object it is, as all spellings of it compare."""
    charsets = found.text(CHARSET).split("\\")
    return {name: comparable(found.values.get(tag, b""), charsets) for tag, name in IDENTITY.items()}


def digests_of(identity: dict[str, str], sop_instance: str) -> dict[str, str]:
    """A digest of each part, which only compares with those of the same instance."""
    return {name: digest_of([sop_instance.encode(), text.encode()])[:16] for name, text in identity.items()}


def geometry_digest(found: Scan) -> str:
    """Position, orientation, spacing, matrix and rescale as numbers: "1.0" and "1.000" are the same."""
    decimals = [found.numbers(tag) for tag in (POSITION, ORIENTATION, SPACING, SLOPE, INTERCEPT)]
    matrix = (found.number(ROWS), found.number(COLUMNS))
    return hashlib.sha256(repr((decimals, matrix)).encode()).hexdigest()


def facts_of(found: Scan, transfer_syntax: str) -> dict[str, Any]:
    """What the completeness of a series is judged by, or None where the object does not say."""
    position, orientation = found.numbers(POSITION), found.numbers(ORIENTATION)
    return {
        "position": list(position) if len(position) == 3 else None,
        "orientation": list(orientation) if len(orientation) == 6 else None,
        "image_type": [part for part in found.text(IMAGE_TYPE).split("\\") if part],
        "instance": first_integer(found.numbers(INSTANCE)),
        "acquisition": first_integer(found.numbers(ACQUISITION)),
        "thickness": (found.numbers(THICKNESS) or (None,))[0],
        "rows": found.number(ROWS),
        "columns": found.number(COLUMNS),
        "transfer_syntax": transfer_syntax,
        "scanner": scanner_of(found),
    }


def scanner_of(found: Scan) -> str:
    """Which scanner made it: manufacturer, model and station, as far as they are told."""
    charsets = found.text(CHARSET)
    told = [shown_text(found.values.get(tag, b""), charsets)[:64] for tag in (MANUFACTURER, MODEL, STATION)]
    return " ".join(filter(None, told))


def first_integer(numbers: tuple[float, ...]) -> int | None:
    return int(numbers[0]) if numbers and abs(numbers[0]) < 2**31 else None


def shown_text(value: bytes, charsets: str) -> str:
    """A string for people in the object's own character set. What cannot be decoded becomes replacement marks."""
    text = decoded(value, charsets.split("\\"))
    return (value.decode("utf-8", "replace") if text is None else text).strip()


def is_ct(sop_class: str) -> bool:
    return sop_class == str(CTImageStorage)
