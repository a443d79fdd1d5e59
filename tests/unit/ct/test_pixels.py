"""Compressed images give the values of the uncompressed one, or are refused before a decoder sees them."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian, RLELossless

from rtseg_daemon.ct.codestream import frame_facts
from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.ct.pixels import stored_values
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.dicom.files import read_dataset
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.gates.voxels import judge_volume
from tests.structure_sets import patients
from tests.synthetic import Change, sample_volume, write_series

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


# --- cells and the values in them ------------------------------------------------------------------------------------

VOLUME = sample_volume((3, 10, 12))
HU = VOLUME.array


def loaded(folder: Path, change: Change) -> CtSeries:
    return load_series(write_series(folder, VOLUME, change=change))


def twelve_bits(cells: np.ndarray, ds: Dataset, high_bit: int = 11, signed: bool = False) -> None:
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, high_bit, int(signed)
    ds.RescaleIntercept = "0" if signed else "-1024"
    ds.PixelData = cells.astype("<u2").tobytes()


def test_an_overlay_in_the_unused_high_bits_is_masked(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        cells = (HU[k] + 1024).astype(np.uint16)
        cells[2:5, 3:9] |= 0x8000
        cells[6] |= 0x1000
        twelve_bits(cells, ds)

    assert np.array_equal(loaded(tmp_path, change).volume.array, HU)


@pytest.mark.parametrize("fill", [0x0000, 0xF000, 0x9000])
def test_signs_are_extended_from_the_highest_stored_bit(tmp_path: Path, fill: int) -> None:
    def change(k: int, ds: Dataset) -> None:
        twelve_bits((HU[k].astype(np.uint16) & 0x0FFF) | fill, ds, signed=True)

    assert np.array_equal(loaded(tmp_path, change).volume.array, HU)


@pytest.mark.parametrize("signed", [False, True])
def test_values_that_stand_at_the_top_of_their_cell_are_found_by_high_bit(tmp_path: Path, signed: bool) -> None:
    def change(k: int, ds: Dataset) -> None:
        stored = HU[k] if signed else HU[k] + 1024
        twelve_bits(((stored.astype(np.uint16) & 0x0FFF) << 4) | 0x5, ds, high_bit=15, signed=signed)

    assert np.array_equal(loaded(tmp_path, change).volume.array, HU)


def test_unused_bits_are_masked_in_run_length_coded_images_too(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        twelve_bits((HU[k] + 1024).astype(np.uint16) | 0x8000, ds)
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)

    assert np.array_equal(loaded(tmp_path, change).volume.array, HU)


def test_a_high_bit_below_the_stored_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="HighBit 7 contradicts 12 bits"):
        loaded(tmp_path, lambda k, ds: twelve_bits((HU[k] + 1024).astype(np.uint16), ds, high_bit=7))


@pytest.mark.parametrize("extra", [1, 2, 128, 10_000])
def test_pixel_data_longer_than_needed_are_cut(tmp_path: Path, extra: int) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.PixelData = ds.PixelData + b"\xff" * extra

    assert np.array_equal(loaded(tmp_path, change).volume.array, HU)


def test_pixel_data_shorter_than_needed_are_refused(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.PixelData = ds.PixelData[:-2]

    with pytest.raises(SeriesError, match="238 bytes where the header says 240"):
        loaded(tmp_path, change)


# --- padding ---------------------------------------------------------------------------------------------------------

OUTSIDE = np.hypot(*(np.mgrid[:10, :12] - np.array([4.5, 5.5])[:, None, None])) > 5


def padded(value: int, signed: bool, *, stated: int | None = None, limit: int | None = None, vr: str = "") -> Change:
    """Everything outside a circle is `value`, which PixelPaddingValue states (as `stated` if given)."""

    def change(k: int, ds: Dataset) -> None:
        cells = HU[k].astype(np.int32) + (0 if signed else 1024)
        cells[OUTSIDE] = value
        ds.PixelRepresentation, ds.RescaleIntercept = int(signed), "0" if signed else "-1024"
        ds.PixelData = cells.astype("<i2" if signed else "<u2").tobytes()
        kind = vr or ("SS" if signed else "US")
        ds.add_new("PixelPaddingValue", kind, value if stated is None else stated)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", kind, limit)

    return change


PADDING: dict[str, Change] = {
    "lowest": padded(-32768, True),
    "highest": padded(65535, False),
    "signed, written as unsigned": padded(-2000, True, stated=63536, vr="US"),
    "a range": padded(65535, False, stated=65000, limit=65535),
    "a range downwards": padded(65100, False, stated=65535, limit=65000),
    "beyond the slope's reach": padded(-30000, True),
}


@pytest.mark.parametrize("case", PADDING)
def test_padding_is_air_and_the_rest_keeps_its_hu(tmp_path: Path, case: str) -> None:
    series = loaded(tmp_path, PADDING[case])
    assert series.padding is not None
    assert np.array_equal(series.padding, np.broadcast_to(OUTSIDE, HU.shape))
    assert np.array_equal(series.volume.array, np.where(OUTSIDE, -1000, HU))


@pytest.mark.parametrize("position", ["HFP", "HFDR", "FFS"])
def test_padding_is_turned_with_its_image(tmp_path: Path, position: str) -> None:
    def change(k: int, ds: Dataset) -> None:
        cells = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).copy()
        cells[0, 1] = 65535
        ds.PixelData = cells.tobytes()
        ds.add_new("PixelPaddingValue", "US", 65535)

    series = load_series(write_series(tmp_path, VOLUME, position, change=change))
    assert series.padding is not None
    assert series.padding.sum() == 3
    assert np.array_equal(series.volume.array, np.where(series.padding, -1000, HU))


def test_padding_is_found_in_implicit_vr(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        PADDING["lowest"](k, ds)
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    assert np.array_equal(loaded(tmp_path, change).volume.array, np.where(OUTSIDE, -1000, HU))


def test_padding_beyond_the_stored_bits_is_compared_with_the_whole_cell(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        PADDING["highest"](k, ds)
        ds.BitsStored, ds.HighBit = 12, 11

    series = loaded(tmp_path, change)
    assert np.array_equal(series.volume.array, np.where(OUTSIDE, -1000, HU))


def test_padding_that_stands_for_air_is_air_like_any_other(tmp_path: Path) -> None:
    series = loaded(tmp_path, padded(0, False))
    assert series.padding is None
    assert np.array_equal(series.volume.array, np.where(OUTSIDE, -1024, HU))


def test_padding_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        PADDING["highest"](k, ds)
        del ds.PixelPaddingValue

    with pytest.raises(SeriesError, match="64511 HU cannot be"):
        loaded(tmp_path, change)


def test_padding_excuses_no_wrong_rescale() -> None:
    """Air at 24 HU: without the padding set aside, its -1000 HU would pass for the air that is missing."""
    hu = np.full(HU.shape, 24, np.int16)
    padding = np.broadcast_to(OUTSIDE, HU.shape)
    volume = VOLUME.with_array(np.where(padding, -1000, hu).astype(np.int16))
    assert judge_volume(volume, padding).verdict == "hold"
    assert judge_volume(volume, np.ones(HU.shape, bool)).reasons[0].startswith("every pixel is padding")
