"""Names compare as DICOM reads them, in DICOM's character sets alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.dicom.charsets import comparable, defined, encodings_of
from rtseg_daemon.dicom.files import read_dataset, text
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.ledger.recognition import Repeat, compare, what_differs
from rtseg_daemon.ledger.schema import Instance, Series
from rtseg_daemon.ledger.states import InstanceState
from rtseg_daemon.receive.arrival import arrival_of
from rtseg_daemon.receive.examine import Examined, examine
from rtseg_daemon.receive.sender import Sender
from tests.receiver import encoded
from tests.synthetic import sample_volume, slice_dataset, write_series

LATIN_1, UTF_8, GB = ["ISO_IR 100"], ["ISO_IR 192"], ["GB18030"]

ONE_NAME: dict[str, list[tuple[bytes, list[str]]]] = {
    "trailing delimiters": [(b"Test^Case", LATIN_1), (b"Test^Case^^^", LATIN_1), (b"Test^Case^^^==", LATIN_1)],
    "spaces around components": [(b"Test^Case", LATIN_1), (b" Test ^ Case  ^", LATIN_1), (b"Test^Case\0", LATIN_1)],
    "latin 1 and utf-8": [("Müller^Jörg".encode("latin-1"), LATIN_1), ("Müller^Jörg".encode(), UTF_8)],
    "composed and not": [("Müller".encode(), UTF_8), ("Mu\u0308ller".encode(), UTF_8)],
    "gb18030 and utf-8": [("王^小东".encode("gb18030"), GB), ("王^小东".encode(), UTF_8)],
    "escape sequences": [
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", ["", "ISO 2022 IR 87"]),
        ("Yamada^Tarou=山田^太郎=^".encode(), UTF_8),
    ],
    "latin 9": [("Œuvre".encode("iso8859-15"), ["ISO_IR 203"]), ("Œuvre".encode(), UTF_8)],
    "a misspelled term": [("Müller".encode("latin-1"), LATIN_1), ("Müller".encode("latin-1"), ["ISO-IR 100"])],
}


@pytest.mark.parametrize("case", ONE_NAME)
def test_spellings_of_one_name_are_one(case: str) -> None:
    assert len({comparable(value, declared) for value, declared in ONE_NAME[case]}) == 1


OTHER_NAMES: dict[str, list[tuple[bytes, list[str]]]] = {
    "another component": [(b"Test^Case", LATIN_1), (b"Test^^Case", LATIN_1)],
    "an empty first component": [(b"Test", LATIN_1), (b"^Test", LATIN_1)],
    "another case": [(b"Test", LATIN_1), (b"TEST", LATIN_1)],
    "another accent": [("Müller".encode(), UTF_8), (b"Muller", UTF_8)],
    "bytes that break their set": [(b"A\xff", UTF_8), (b"A\xfe", UTF_8)],
    "bytes and what they look like": [(b"A\xff", UTF_8), (b"\x0041ff", UTF_8)],
}


@pytest.mark.parametrize("case", OTHER_NAMES)
def test_other_names_stay_others(case: str) -> None:
    assert len({comparable(value, declared) for value, declared in OTHER_NAMES[case]}) == 2


@pytest.mark.parametrize("term", ["utf_7", "unicode_escape", "UTF-7", "raw_unicode_escape", "idna", "zip", "NONSENSE"])
def test_what_python_knows_and_dicom_does_not_is_no_character_set(term: str) -> None:
    assert defined(term) == ""
    assert encodings_of([term]) == encodings_of([""])


@pytest.mark.parametrize("term", ["utf_7", "unicode_escape"])
@pytest.mark.parametrize("value", [b"+2AA-", b"\\ud800", b"A+AEE-"])
def test_an_object_in_an_undefined_character_set_is_examined_and_its_text_can_be_stored(
    term: str, value: bytes
) -> None:
    image = slice_dataset(sample_volume(), 0, "HFS", 0)
    image.PatientID = image.SeriesDescription = value.decode()
    value_of_term = term.encode() + b" " * (len(term) % 2)
    before = b"CS\x0a\x00ISO_IR 100"
    assert before in encoded(image)
    raw = encoded(image).replace(before, b"CS" + len(value_of_term).to_bytes(2, "little") + value_of_term, 1)
    found = examine(memoryview(raw), ExplicitVRLittleEndian, CTImageStorage, image.SOPInstanceUID)
    assert isinstance(found, Examined)
    assert found.patient_id == value.decode()
    assert found.patient_id.encode()
    assert found.description == value.decode()


def test_a_file_in_an_undefined_character_set_is_read_as_plain_text(tmp_path: Path) -> None:
    def change(_k: int, ds: Dataset) -> None:
        ds.SeriesDescription = "A+2AA-"

    (path, *_) = write_series(tmp_path, sample_volume(), change=change)
    path.write_bytes(path.read_bytes().replace(b"CS\x0a\x00ISO_IR 100", b"CS\x06\x00utf_7 ", 1))
    assert text(read_dataset(path, pixels=False), "SeriesDescription") == "A+2AA-"
    assert read_header(path).description == "A+2AA-"


def test_a_series_with_its_name_in_two_spellings_is_one_patients(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.SpecificCharacterSet = "ISO_IR 192" if k % 2 else "ISO_IR 100"
        ds.PatientName = "Müller^Jörg" + ("^^^" if k % 3 else "")

    paths = write_series(tmp_path, sample_volume(), change=change)
    before = [path.read_bytes() for path in paths]
    load_series(paths)
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "PatientBirthDate"])
def test_the_reason_names_what_differs(tmp_path: Path, keyword: str) -> None:
    paths = write_series(tmp_path, sample_volume())
    ds = dcmread(paths[2])
    setattr(ds, keyword, "19700101")
    ds.save_as(paths[2])
    with pytest.raises(SeriesError, match=rf"identity \({keyword}\) differs"):
        load_series(paths)


# --- under one UID again ---------------------------------------------------------------------------------------------


def examined(**changes: str) -> Examined:
    image = slice_dataset(sample_volume(), 0, "HFS", 0)
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    found = examine(memoryview(encoded(image)), ExplicitVRLittleEndian, CTImageStorage, image.SOPInstanceUID)
    assert isinstance(found, Examined)
    return found


def kept(found: Examined, identity: str) -> Instance:
    return Instance(
        sha256="a",
        identity_sha256=identity,
        geometry_sha256=found.geometry_sha256,
        pixel_sha256="p",
        facts=found.facts,
        state=InstanceState.KEPT,
        series=Series(series_instance_uid=found.series_uid),
    )


class OneFile:
    """What an arrival asks of the file that was written."""

    sha256, size = "b", 1


def arrival(found: Examined) -> Arrival:
    one = arrival_of(found, OneFile(), Sender("PACS", "127.0.0.1"))  # type: ignore[arg-type]
    return replace(one, pixel_sha256="p")


def test_an_object_that_comes_again_with_its_name_in_another_spelling_is_the_same() -> None:
    first = examined(PatientName="Müller^Jörg")
    again = arrival(examined(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg^^"))
    assert compare(kept(first, first.identity_sha256), again) is Repeat.DUPLICATE


def test_an_object_entered_by_an_earlier_version_is_the_same_by_its_bytes() -> None:
    first = examined(PatientName="Müller^Jörg^^")
    again = arrival(examined(PatientName="Müller^Jörg^^", StationName="B"))
    assert compare(kept(first, first.identity_bytes_sha256), again) is Repeat.DUPLICATE


def test_the_conflict_names_what_differs() -> None:
    first = examined()
    for keyword, value in (("PatientName", "Other"), ("PatientID", "2"), ("FrameOfReferenceUID", "1.2")):
        again = arrival(examined(**{keyword: value}))
        assert compare(kept(first, first.identity_sha256), again) is Repeat.IDENTITY_DIFFERS
        assert what_differs(kept(first, first.identity_sha256), again) == f"another {keyword}"
