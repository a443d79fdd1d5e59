"""CT files in any storage orientation and order become one volume, or a named precondition refuses them."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.ct.preconditions import sorted_positions, storage_axes
from rtseg_daemon.ct.series import list_series, load_series
from rtseg_daemon.errors import SeriesError
from tests.structure_sets import patients
from tests.synthetic import ORIENTATIONS, Change, sample_volume, write_series


@pytest.mark.parametrize("position", ORIENTATIONS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_storage_orientation_gives_the_same_volume(tmp_path: Path, position: str, shuffle: bool) -> None:
    volume = sample_volume()
    series = load_series(write_series(tmp_path, volume, position, shuffle=shuffle))
    assert series.volume.array.dtype == np.int16
    assert np.array_equal(series.volume.array, volume.array)
    assert series.volume.spacing_mm == pytest.approx(volume.spacing_mm)
    assert series.volume.origin_mm == pytest.approx(volume.origin_mm)
    assert series.slice_z_mm == pytest.approx([volume.origin_mm[0] + 3.0 * k for k in range(6)])


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_a_marker_on_the_patients_left_lies_at_high_x(tmp_path: Path, position: str) -> None:
    volume = sample_volume()
    volume.array[:] = 0
    volume.array[2, 4, 29] = 1000
    series = load_series(write_series(tmp_path, volume, position))
    stored = {dcmread(p).SOPInstanceUID: dcmread(p) for p in tmp_path.iterdir()}[series.instances[2].sop_instance_uid]
    row, column = np.argwhere(stored.pixel_array == 2024)[0]
    cosines = np.array(stored.ImageOrientationPatient, float).reshape(2, 3)
    left_mm = float(stored.ImagePositionPatient[0])
    left_mm += (
        column * float(stored.PixelSpacing[1]) * cosines[0, 0] + row * float(stored.PixelSpacing[0]) * cosines[1, 0]
    )
    z, y, x = np.argwhere(series.volume.array == 1000)[0]
    assert (z, y, x) == (2, 4, 29)
    assert series.volume.origin_mm[2] + x * series.volume.spacing_mm[2] == pytest.approx(left_mm)


def test_a_fractional_rescale_gives_float_values(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.RescaleSlope = "0.5"

    series = load_series(write_series(tmp_path, sample_volume(), change=change))
    assert series.volume.array.dtype == np.float32
    assert series.volume.array == pytest.approx((sample_volume().array.astype(float) + 1024) * 0.5 - 1024)


def test_signed_pixels_keep_their_sign(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.PixelRepresentation, ds.RescaleIntercept = 1, "0"
        ds.PixelData = sample_volume().array[k].astype("<i2").tobytes()

    assert np.array_equal(
        load_series(write_series(tmp_path, sample_volume(), change=change)).volume.array, sample_volume().array
    )


def only(index: int, **values: object) -> Change:
    """A change of one slice."""

    def change(k: int, ds: Dataset) -> None:
        if k == index:
            for keyword, value in values.items():
                setattr(ds, keyword, value)

    return change


def every(**values: object) -> Change:
    """A change of every slice."""

    def change(k: int, ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def moved(index: int, by: tuple[float, float, float]) -> Change:
    def change(k: int, ds: Dataset) -> None:
        if k == index:
            ds.ImagePositionPatient = [float(a) + b for a, b in zip(ds.ImagePositionPatient, by, strict=True)]

    return change


def half_the_pixels(k: int, ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]


REFUSED: dict[str, tuple[str, Change]] = {
    "another patient": ("identity", only(2, PatientID="OTHER")),
    "another name": ("identity", only(2, PatientName="Other^Name")),
    "another study": ("identity", only(2, StudyInstanceUID="1.2.3")),
    "another frame of reference": ("frame_of_reference", only(3, FrameOfReferenceUID="1.2.3")),
    "no frame of reference": ("frame_of_reference", every(FrameOfReferenceUID="")),
    "no position": ("position", only(1, ImagePositionPatient=None)),
    "oblique": ("orientation", every(ImageOrientationPatient=[0.995, 0.0998, 0, -0.0998, 0.995, 0])),
    "sagittal": ("orientation", every(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
    "one slice turned": ("orientation", only(1, ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])),
    "mixed spacing": ("pixel_spacing", only(4, PixelSpacing=[1.0, 1.0])),
    "no rescale": ("rescale", only(4, RescaleSlope=None)),
    "not in HU": ("rescale", every(RescaleType="US")),
    "mixed rescale": ("mixed_rescale", only(4, RescaleIntercept="-1000")),
    "two slices at one place": ("duplicate_position", moved(3, (0, 0, -3.0))),
    "sheared stack": ("shear", moved(3, (0, 0.7, 0))),
    "tilted gantry": ("tilt", every(GantryDetectorTilt="-12")),
    "one slice off": ("gap", moved(3, (0, 0, 0.2))),
    "truncated pixels": ("pixel_data", half_the_pixels),
    "colour": ("matrix", every(SamplesPerPixel=3)),
    "bits": ("pixel_data", every(BitsStored=8, HighBit=7)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_broken_precondition_is_refused_by_its_name(tmp_path: Path, case: str) -> None:
    name, change = REFUSED[case]
    paths = write_series(tmp_path, sample_volume(), change=change)
    with pytest.raises(SeriesError) as error:
        load_series(paths)
    assert error.value.precondition == name
    assert "PHANTOM1" not in str(error.value)
    assert "Phantom" not in str(error.value)


def test_a_missing_slice_is_a_gap(tmp_path: Path) -> None:
    paths = write_series(tmp_path, sample_volume())
    with pytest.raises(
        SeriesError, match=r"gap: one slice distance is 6\.00 mm at z = -8\d\.\d mm, the others 3\.00 mm"
    ):
        load_series(paths[:2] + paths[3:])


def test_jitter_below_the_tolerance_is_no_gap(tmp_path: Path) -> None:
    series = load_series(write_series(tmp_path, sample_volume(), change=moved(3, (0, 0, 0.04))))
    assert series.instances[3].z_mm == pytest.approx(sample_volume().origin_mm[0] + 9.04)


def test_a_slice_that_is_off_by_what_is_tolerated_keeps_its_own_place(tmp_path: Path) -> None:
    paths = write_series(tmp_path, sample_volume(), change=moved(3, (0, 0, 0.2)))
    series = load_series(paths, tolerance=0.1)
    start = sample_volume().origin_mm[0]
    assert series.slice_z_mm == pytest.approx([start + 3 * k + (0.2 if k == 3 else 0) for k in range(6)])
    assert np.array_equal(
        series.volume.array, load_series(write_series(tmp_path / "even", sample_volume())).volume.array
    )


def test_a_released_duplicate_keeps_the_first_of_its_place(tmp_path: Path) -> None:
    paths = write_series(tmp_path, sample_volume())
    twin = dcmread(paths[2])
    twin.SOPInstanceUID, twin.InstanceNumber = "1.2.3", 99
    twin.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    twin.save_as(tmp_path / "twin.dcm")
    series = load_series([tmp_path / "twin.dcm", *paths], frozenset({"duplicate_position"}))
    assert len(series.instances) == 6
    assert "1.2.3" not in {one.sop_instance_uid for one in series.instances}


def test_an_oblique_series_is_refused_even_if_released(tmp_path: Path) -> None:
    paths = write_series(tmp_path, sample_volume(), change=REFUSED["oblique"][1])
    with pytest.raises(SeriesError, match="oblique"):
        load_series(paths, frozenset({"orientation"}))


def test_the_folder_listing_passes_over_what_is_no_ct(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "a", sample_volume(), seed=1)
    write_series(tmp_path / "b", sample_volume(), seed=2)
    other = dcmread(paths[0])
    other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    other.save_as(tmp_path / "rs.dcm")
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "cut.dcm").write_bytes(paths[1].read_bytes()[:200])
    assert sorted(len(found) for found in list_series(tmp_path).values()) == [6, 6]


def test_a_deflated_file_is_not_opened(tmp_path: Path) -> None:
    path = write_series(tmp_path, sample_volume())[0]
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.save_as(path)
    with pytest.raises(SeriesError, match="deflated"):
        read_header(path)


def test_the_representation_of_a_header_names_no_patient(tmp_path: Path) -> None:
    header = read_header(write_series(tmp_path, sample_volume())[0])
    assert header.patient_id == "PHANTOM1"
    assert "PHANTOM1" not in repr(header)
    assert "Phantom^" not in repr(header)


def test_slices_are_sorted_by_position_not_by_number(tmp_path: Path) -> None:
    headers = [read_header(p) for p in write_series(tmp_path, sample_volume(), "FFP", shuffle=True)]
    assert [h.z_mm for h in sorted_positions(headers)] == sorted(h.z_mm or 0 for h in headers)


def test_an_image_a_little_off_axis_counts_as_axial() -> None:
    assert storage_axes([1, 3e-4, 0, -3e-4, 1, 0]) == (0, 1, 1, 1)
    assert storage_axes([1, 1e-3, 0, -1e-3, 1, 0]) is None


@pytest.mark.patients
def test_real_series_load_or_say_why(tmp_path: Path) -> None:
    expected = {
        "hn_cerr_511": "", "thorax_lung1_003_aria": "", "tilt_ge_human": "orientation",
        "gap_ge18": "frame_of_reference", "dupe_positions": "duplicate_position",
        "ffs_frames_of_reference": "frame_of_reference", "odd_oblique_nonsquare_rtutils": "identity",
        "odd_iop_flipped_torchio": "rescale",
    }  # fmt: skip
    for folder, precondition in expected.items():
        (paths,) = list_series(patients("dicom", folder)).values()
        found = ""
        try:
            load_series(paths)
        except SeriesError as error:
            found = error.precondition
        assert found == precondition, folder


@pytest.mark.patients
def test_hostile_files_are_passed_over() -> None:
    folder = patients("dicom", "fuzz", "killers")
    for paths in list_series(folder).values():
        with pytest.raises(SeriesError):
            load_series(paths)
