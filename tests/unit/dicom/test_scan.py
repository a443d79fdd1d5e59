import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.scan import MAXIMUM_DEPTH, ScanError, scan
from rtseg_daemon.receive.examine import (
    PATIENT_ID,
    POSITION,
    ROWS,
    SERIES,
    WANTED,
    Examined,
    examine,
    is_uid,
    shown_text,
)
from tests.faults.conftest import series
from tests.receiver import encoded

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def image() -> Dataset:
    """A CT image with nested sequences of both kinds of length."""
    dataset = series("scan")[3]
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, inner.PatientID = "T-1", "not this one"
    outer.PurposeOfReferenceCodeSequence = [inner, inner]
    dataset.ReferencedImageSequence = [outer]
    dataset.ProcedureCodeSequence = []
    return dataset


SOP = str(image().SOPInstanceUID)
RAW = {syntax: encoded(image(), syntax) for syntax in SYNTAXES}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_the_wanted_values_are_those_of_the_top_level(syntax: str, undefined: bool) -> None:
    dataset = image()
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    dataset.ReferencedImageSequence[0].is_undefined_length_sequence_item = undefined
    found = scan(memoryview(encoded(dataset, syntax)), syntax, WANTED)
    assert found.text(PATIENT_ID) == dataset.PatientID
    assert found.text(SERIES) == dataset.SeriesInstanceUID
    assert found.number(ROWS) == 16
    assert found.numbers(POSITION) == (0.0, 0.0, 9.0)
    assert found.pixels is not None
    assert found.pixels.stop - found.pixels.start == 512


def test_encapsulated_pixels_are_found_whole() -> None:
    dataset = series("scan")[0]
    raw = encoded(dataset)
    head = raw[: raw.index(b"\xe0\x7f\x10\x00OW")]
    packed = encapsulate([b"frame bytes!"])
    data = head + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + packed + b"\xfe\xff\xdd\xe0\0\0\0\0"
    found = scan(memoryview(data), JPEGLSLossless, WANTED)
    assert found.pixels is not None
    assert found.pixels.encapsulated
    assert data[found.pixels.start : found.pixels.stop] == packed


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_truncation_is_an_error_or_lacks_the_pixels(syntax: str) -> None:
    raw = RAW[syntax]
    for stop in range(0, len(raw), 7):
        try:
            assert scan(memoryview(raw[:stop]), syntax, WANTED).pixels is None
        except ScanError:
            continue


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SYNTAXES), st.data())
def test_damaged_bytes_are_judged_or_refused_and_nothing_else(syntax: str, data: st.DataObject) -> None:
    raw = bytearray(RAW[syntax])
    for _ in range(data.draw(st.integers(1, 4))):
        patch = data.draw(st.binary(min_size=1, max_size=6))
        at = data.draw(st.integers(0, len(raw) - len(patch)))
        raw[at : at + len(patch)] = patch
    verdict = examine(memoryview(raw), syntax, CTImageStorage, SOP)
    assert isinstance(verdict, (Examined, Status))


@settings(deadline=None)
@given(st.binary(max_size=600), st.sampled_from(SYNTAXES))
def test_noise_is_judged_or_refused_and_nothing_else(noise: bytes, syntax: str) -> None:
    assert isinstance(examine(memoryview(noise), syntax, CTImageStorage, "1.2"), Status)


@pytest.mark.parametrize(("levels", "accepted"), [(MAXIMUM_DEPTH, True), (MAXIMUM_DEPTH + 1, False)])
def test_nesting_is_allowed_to_a_depth(levels: int, accepted: bool) -> None:
    opened = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    data = memoryview(opened * levels + closed * levels)
    if accepted:
        scan(data, ExplicitVRLittleEndian, WANTED)
    else:
        with pytest.raises(ScanError, match="nested"):
            scan(data, ExplicitVRLittleEndian, WANTED)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff",  # a sequence that never ends
        b"\xfe\xff\xdd\xe0\0\0\0\0",  # an end without a beginning
        b"\xfe\xff\x00\xe0\0\0\0\0",  # an item outside a sequence
        b"\x08\x00\x40\x11SQ\0\0\x08\0\0\0\x10\x00\x20\x00LO\0\0",  # an element where an item belongs
        b"\x08\x00\x40\x11SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\xff\0\0\0",  # an item longer than its sequence
        b"\x10\x00\x20\x00??\0\0",  # no value representation
        b"\x02\x00\x10\x00UI\x04\x001.2\0",  # file meta information inside a data set
        b"\x10\x00\x20\x00LO\x02\x00AB" * 2,  # the same element twice
    ],
)
def test_broken_structure_is_an_error(data: bytes) -> None:
    with pytest.raises(ScanError):
        scan(memoryview(data), ExplicitVRLittleEndian, WANTED)


def test_an_unknown_sequence_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5, 6.2.2: VR UN with undefined length."""
    inner = struct.pack("<HHI", 0x10, 0x20, 2) + b"AB"
    data = b"\x09\x00\x10\x10UN\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
    data += b"\xfe\xff\xdd\xe0\0\0\0\0" + b"\x10\x00\x20\x00LO\x02\x00CD"
    assert scan(memoryview(data), ExplicitVRLittleEndian, WANTED).text(PATIENT_ID) == "CD"


@pytest.mark.parametrize(("text", "valid"), [("1.2.840.10008.1.2", True), ("2.25.03", True), ("1", True), ("", False),
                                             ("1.", False), (".1", False), ("1..2", False), ("1.2a", False),
                                             ("1.2 ", False), ("9" * 64, True), ("9" * 65, False), ("1.2\n", False),
                                             ("１.２", False)])  # fmt: skip
def test_what_is_a_uid(text: str, valid: bool) -> None:
    assert is_uid(text) == valid


@pytest.mark.parametrize(
    ("value", "charsets", "shown"),
    [
        (b"PLAIN", "", "PLAIN"),
        ("Müller".encode("latin-1"), "ISO_IR 100", "Müller"),
        ("山田".encode(), "ISO_IR 192", "山田"),
        (b"\xff\xfe", "NONSENSE", "ÿþ"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_patient_id_is_shown_in_its_own_character_set(value: bytes, charsets: str, shown: str) -> None:
    assert shown_text(value, charsets) == shown


def test_the_scanner_is_known_as_far_as_the_image_tells_it() -> None:
    told, silent = series("g")[0], series("g")[0]
    told.Manufacturer, told.ManufacturerModelName, told.StationName = "SIEMENS", "SOMATOM go.Open", "CT1"
    for keyword in ("Manufacturer", "ManufacturerModelName", "StationName"):
        if keyword in silent:
            delattr(silent, keyword)
    found = [
        examine(memoryview(encoded(d)), ExplicitVRLittleEndian, CTImageStorage, d.SOPInstanceUID)
        for d in (told, silent)
    ]
    assert all(isinstance(one, Examined) for one in found)
    assert [one.facts["scanner"] for one in found] == ["SIEMENS SOMATOM go.Open CT1", ""]


def test_geometry_is_compared_as_numbers_and_identity_as_it_stands() -> None:
    first, second, third = series("g")[0], series("g")[0], series("g")[0]
    second.ImagePositionPatient = ["0.000", "0", "0.0"]
    third.PatientBirthDate = "19600102"
    a, b, c = (examine(memoryview(encoded(d)), ExplicitVRLittleEndian, CTImageStorage, d.SOPInstanceUID)
               for d in (first, second, third))  # fmt: skip
    assert isinstance(a, Examined)
    assert isinstance(b, Examined)
    assert isinstance(c, Examined)
    assert a.geometry_sha256 == b.geometry_sha256
    assert a.identity_sha256 == b.identity_sha256
    assert a.identity_sha256 != c.identity_sha256
