"""Patient and study of the CT, carried into the RTSTRUCT: identity byte for byte, the rest if it keeps to its VR."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.charset import default_encoding, encode_string
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.valuerep import PersonName, validate_value

from rtseg_daemon.dicom import charsets
from rtseg_daemon.dicom.charsets import CHARACTER_SETS
from rtseg_daemon.dicom.files import texts
from rtseg_daemon.dicom.quiet import quiet

IDENTITY = ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
"""Carried over as the bytes that stand in the CT, right or wrong: they are what the planning system matches by."""

REQUIRED = (
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
    "PositionReferenceIndicator",
)  # fmt: skip
"""Type 2: written empty where the CT has none or breaks the VR (PS3.3 C.7.1.1, C.7.2.1, C.7.4.1)."""

OPTIONAL = (
    "SpecificCharacterSet", "IssuerOfPatientID", "PatientBirthTime", "OtherPatientNames", "EthnicGroup",
    "PatientComments", "StudyDescription", "PhysiciansOfRecord", "PatientAge", "PatientSize", "PatientWeight",
    "TimezoneOffsetFromUTC",
)  # fmt: skip
"""Type 3 (and the character set): left out where the CT has none or breaks the VR."""

MULTIPLE = ("SpecificCharacterSet", "OtherPatientNames", "PhysiciansOfRecord")

ENUMERATED = {"PatientSex": ("M", "F", "O")}

LONGEST = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240}
"""Characters (not bytes) that a value of the VR may have (PS3.5 table 6.2-1)."""


def copy_identity(header: Dataset, target: Dataset) -> list[str]:
    """Copy patient, study and frame of reference from a CT header. Returns a note per value that was not usable."""
    notes = []
    for keyword in IDENTITY:
        target.add(raw_copy(header, keyword) or empty(keyword))
    for keyword in (*REQUIRED, *OPTIONAL):
        element = raw_copy(header, keyword)
        fault = fault_of(header, keyword) if element is not None else ""
        if fault:
            notes.append(f"{keyword} of the CT is not written: {fault}")
        if element is not None and not fault and element.value:
            target.add(element)
        elif keyword in REQUIRED:
            target.add(empty(keyword))
    return notes


def raw_copy(header: Dataset, keyword: str) -> Any:
    """The element with the bytes that it has in the file, or None. Where the file gives no VR, the dictionary does."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    if tag not in header:
        return None
    element = header.get_item(tag)
    value = element.value if isinstance(element, RawDataElement) else encoded(header[tag], encodings_of(header))
    value = value or b""
    value += (b"\0" if dictionary_VR(tag) == "UI" else b" ") * (len(value) % 2)
    return RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, True, True, True)


def encoded(element: DataElement, encodings: list[str]) -> bytes:
    """Bytes of an element that somebody has looked at already. A name keeps those that it was read from."""
    if element.value is None:
        return b""
    values = list(element.value) if element.VM > 1 else [element.value]
    return b"\\".join(
        (v.original_string or b"") if isinstance(v, PersonName) else encode_string(str(v), encodings) for v in values
    )


def encodings_of(dataset: Dataset) -> list[str]:
    """Python's names for the data set's character set, or the default repertoire where it is none of the standard's."""
    return charsets.encodings_of(texts(dataset, "SpecificCharacterSet", empty=True))


def keep_bytes(dataset: Dataset) -> None:
    """Have pydicom write the raw elements of `dataset` as the bytes they are, in implicit VR little endian."""
    encodings = encodings_of(dataset)
    charset = encodings if dataset.get("SpecificCharacterSet") else default_encoding
    dataset.set_original_encoding(True, True, charset)


def empty(keyword: str) -> DataElement:
    return DataElement(Tag(tag_for_keyword(keyword) or 0), dictionary_VR(keyword), None)


def fault_of(header: Dataset, keyword: str) -> str:
    """Why a value breaks its VR or its defined terms, empty if it does not."""
    try:
        with quiet("error"):
            element = alone(header, keyword)[keyword]
            values = list(element.value) if element.VM > 1 else [element.value]
            for value in values:
                validate_value(element.VR, value, RAISE)
            if element.VM > 1 and keyword not in MULTIPLE:
                return f"it has {element.VM} values"
            return written_fault(keyword, element.VR, [str(v) for v in values if v is not None])
    except Exception as error:  # noqa: BLE001 - a stranger's bytes: whatever they raise, they break their VR
        return f"it breaks its VR ({type(error).__name__})"


def alone(header: Dataset, keyword: str) -> Dataset:
    """The raw element by itself, with the character set that it is to be read in if that is one of the standard's."""
    single = Dataset()
    charset = raw_copy(header, "SpecificCharacterSet")
    if charset is not None and keyword != "SpecificCharacterSet":
        terms = charset.value.decode("ascii", "replace").split("\\")
        if all(term.strip() in CHARACTER_SETS or not term.strip() for term in terms):
            single.add(charset)
    single.add(raw_copy(header, keyword))
    return single


def written_fault(keyword: str, vr: str, values: Iterable[str]) -> str:
    """What pydicom's check of single values leaves open: defined terms, length in characters, control characters."""
    for position, value in enumerate(values):
        if value not in ENUMERATED.get(keyword, (value,)):
            return "it is none of the standard's terms"
        if keyword == "SpecificCharacterSet" and value not in CHARACTER_SETS and not (value == "" and position == 0):
            return "it is no character set of the standard"
        if vr == "DA" and value and not is_date(value):
            return "there is no such date"
        if len(value) > LONGEST.get(vr, len(value)):
            return f"it is longer than {LONGEST[vr]} characters"
        if any(ord(c) < 32 and c not in "\r\n\f\t" for c in value) or "\ufffd" in value:
            return "it holds characters that its character set does not have"
    return ""


def is_date(value: str) -> bool:
    try:
        datetime.strptime(value.strip(), "%Y%m%d")
    except ValueError:
        return False
    return True
