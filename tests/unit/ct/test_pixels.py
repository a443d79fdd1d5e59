"""Compressed images give the values of the uncompressed one, or are refused before a decoder sees them."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID

from rtseg_daemon.ct.codestream import frame_facts
from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.ct.pixels import stored_values
from rtseg_daemon.dicom.files import read_dataset
from rtseg_daemon.errors import SeriesError
from tests.structure_sets import patients

LOSSY = ["1.2.840.10008.1.2.1.99", *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81, 91))]


def values_of(path: Path) -> np.ndarray:
    return stored_values(read_dataset(path, pixels=True), read_header(path))


@pytest.mark.patients
def test_every_lossless_syntax_gives_the_same_values() -> None:
    folder = patients("dicom", "odd_transfer_syntaxes_ct")
    plain = values_of(folder / "CTImage.dcm_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm")
    seen = set()
    for path in sorted(folder.glob("CTImage.dcm_*")):
        syntax = path.name.rsplit("_", 1)[1].removesuffix(".dcm")
        if syntax not in LOSSY:
            assert np.array_equal(values_of(path), plain), path.name
            seen.add(syntax)
    lossless = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"}
    assert seen == lossless | {f"1.2.840.10008.1.2.4.{n}" for n in (57, 70, 80, 90)}
    assert all(UID(syntax).is_transfer_syntax for syntax in seen)


@pytest.mark.patients
@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_and_deflated_images_are_refused(syntax: str) -> None:
    (path,) = patients("dicom", "odd_transfer_syntaxes_ct").glob(f"*_{syntax}.dcm")
    with pytest.raises(SeriesError, match=r"lossy or unknown|deflated"):
        values_of(path)


@pytest.mark.patients
@pytest.mark.parametrize(
    "name",
    [
        "pylibjpeg_TOSHIBA_J2K_SIZ0_PixRep1.dcm",
        "pylibjpeg_TOSHIBA_J2K_SIZ1_PixRep0.dcm",
        "rubydicom_invalid_compression.dcm",
    ],
)
def test_a_frame_that_contradicts_its_header_is_refused(name: str) -> None:
    with pytest.raises(SeriesError):
        values_of(patients("dicom", "odd_ct_misc") / name)


def test_a_jpeg_2000_frame_states_size_bits_and_sign() -> None:
    siz = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + b"".join(n.to_bytes(4, "big") for n in (20, 10, 0, 0, 20, 10, 0, 0))
    facts = frame_facts(siz + b"\x00\x01\x8b\x01\x01")
    assert facts is not None
    assert (facts.rows, facts.columns, facts.bits, facts.samples, facts.signed) == (10, 20, 12, 1, True)


def test_a_jpeg_frame_states_size_and_bits() -> None:
    facts = frame_facts(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x10\x00\x0a\x00\x14\x01\x01\x11\x00")
    assert facts is not None
    assert (facts.rows, facts.columns, facts.bits, facts.samples, facts.signed) == (10, 20, 16, 1, None)


@pytest.mark.parametrize("frame", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc3\x00", b"\xff\x4f\xff\x51\x00", b"junk" * 9])
def test_a_cut_frame_has_no_facts(frame: bytes) -> None:
    assert frame_facts(frame) is None
