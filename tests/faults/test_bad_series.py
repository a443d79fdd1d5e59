"""Rows of the table of bad input that are judged by the whole series, against the running receiver and the sweep.

What one object is refused or kept for: test_bad_input.py.
"""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    EnhancedCTImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RTStructureSetStorage,
)

from rtseg_daemon.ledger.states import JobState, SeriesState
from tests.faults.conftest import QUIET, Ward, series
from tests.receiver import Peer, encoded
from tests.synthetic import uid

DATA = Path(__file__).parents[3] / "shared" / "data" / "dicom"


def real(folder: str) -> list[Dataset]:
    """The CT images of a real series; skips the test where the data are not there."""
    if not (DATA / folder).is_dir():
        pytest.skip(f"needs {folder} beside the checkout")
    read = [pydicom.dcmread(p, force=True) for p in sorted((DATA / folder).rglob("*")) if p.is_file()]
    return [ds for ds in read if ds.get("SOPClassUID") == "1.2.840.10008.5.1.4.1.1.2" and "PixelData" in ds]


Change = Callable[[int, Dataset], None]


def held(ward: Ward, name: str, change: Change) -> tuple[str, bool]:
    """Settle a changed series; returns why it is held, and whether it may be released."""
    images = series(name)
    for k, image in enumerate(images):
        change(k, image)
    job = ward.settled(images)
    assert job.state is JobState.HELD
    return str(job.error), job.releasable


def test_a_duplicate_position_is_held(ward: Ward) -> None:
    def change(k: int, image: Dataset) -> None:
        image.ImagePositionPatient = [0, 0, 3 * min(k, 18)]

    assert "position that another one holds" in held(ward, "position", change)[0]


def test_a_missing_slice_is_held_with_its_place_and_goes_on_when_it_comes(ward: Ward) -> None:
    images = series("gap")
    assert ward.settled([*images[:7], *images[8:]]).state is JobState.HELD
    reason = str(ward.jobs(images)[-1].error)
    assert "1 slices are missing, at 21.0 mm" in reason
    assert ward.settled(images[7:8]).state is JobState.QUEUED


def test_variable_spacing_is_held(ward: Ward) -> None:
    def change(k: int, image: Dataset) -> None:
        image.ImagePositionPatient = [0, 0, 3 * k + max(0, k - 10)]

    assert "not equally far apart" in held(ward, "spacing", change)[0]


def test_a_tilted_gantry_is_held(ward: Ward) -> None:
    def change(k: int, image: Dataset) -> None:
        image.GantryDetectorTilt = "12.5"

    assert "GantryDetectorTilt" in held(ward, "tilt", change)[0]


@pytest.mark.patients
def test_a_real_tilted_series_is_held(ward: Ward) -> None:
    images = real("tilt_ge_human")
    job = ward.settled(images, syntaxes=(images[0].file_meta.TransferSyntaxUID,))
    assert job.state is JobState.HELD
    assert "oblique" in str(job.error)


@pytest.mark.patients
@pytest.mark.parametrize("folder", ["gap_ge18", "dupe_positions", "odd_iop_flipped_torchio"])
def test_a_real_irregular_series_is_held(ward: Ward, folder: str) -> None:
    images = real(folder)
    assert ward.settled(images, syntaxes=(images[0].file_meta.TransferSyntaxUID,)).state is JobState.HELD


@pytest.mark.parametrize("image_type", [["ORIGINAL", "PRIMARY", "LOCALIZER"], ["DERIVED", "SECONDARY", "SCREEN SAVE"]])
def test_a_localizer_or_a_dose_report_among_the_slices_is_left_out(ward: Ward, image_type: list[str]) -> None:
    images = series(f"localizer {image_type}")
    localizer = series(f"localizer {image_type}")[0]
    localizer.SOPInstanceUID, localizer.ImageType = uid("loc", *image_type), image_type
    localizer.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    job = ward.settled([*images, localizer])
    assert job.state is JobState.QUEUED
    assert job.verdicts[0]["reasons"] == ["1 localizers or reports in the series were left out"]


def test_a_series_of_localizers_alone_makes_no_job(ward: Ward) -> None:
    images = series("scout", 2)
    for image in images:
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ward.send(images)
    ward.wait(4 * QUIET)
    assert ward.jobs(images) == []
    assert ward.series(images).state is SeriesState.UNROUTED


@pytest.mark.parametrize("position", ["FFS", "HFP", "HFDR"])
def test_a_position_not_validated_is_held(ward: Ward, position: str) -> None:
    def change(k: int, image: Dataset) -> None:
        image.PatientPosition = position

    reason, releasable = held(ward, f"position {position}", change)
    assert f"patient position {position}" in reason
    assert releasable


FORWARDED = {
    "RTSTRUCT": RTStructureSetStorage,
    "SR": ComprehensiveSRStorage,
    "PR": GrayscaleSoftcopyPresentationStateStorage,
    "enhanced CT": EnhancedCTImageStorage,
}


@pytest.mark.parametrize("name", FORWARDED)
def test_what_comes_along_with_a_forwarded_study_is_accepted_and_dropped(ward: Ward, name: str) -> None:
    other = Dataset()
    other.SOPClassUID, other.SOPInstanceUID, other.PatientID = FORWARDED[name], uid("along", name), "X"
    with Peer(ward.receiver.port) as peer:
        assert peer.negotiate({3: (FORWARDED[name], [UID("1.2.840.10008.1.2.1")])}) == {3: 0}
        assert peer.store(other, sop_class=FORWARDED[name]) == 0
    assert not ward.receiver.has(other.SOPInstanceUID)
    assert not ward.receiver.unfinished()
    what = "a structure set" if name == "RTSTRUCT" else "an object that was forwarded along"
    assert f"dropped {what}" in ward.receiver.logged()


def test_phases_of_a_4d_scan_in_one_series_are_held(ward: Ward) -> None:
    def change(k: int, image: Dataset) -> None:
        image.TemporalPositionIdentifier = k // 10 + 1

    assert "4D" in held(ward, "4d", change)[0]


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "PatientBirthDate"])
def test_mixed_patients_in_a_series_are_held_and_cannot_be_released(ward: Ward, keyword: str) -> None:
    def change(k: int, image: Dataset) -> None:
        if k == 7:
            image[keyword].value = "19770707" if keyword == "PatientBirthDate" else "Other"

    reason, releasable = held(ward, f"mixed {keyword}", change)
    assert "identity" in reason
    assert not releasable


def test_several_frames_of_reference_are_held_and_cannot_be_released(ward: Ward) -> None:
    def change(k: int, image: Dataset) -> None:
        image.FrameOfReferenceUID = f"1.2.{k // 10}"

    assert not held(ward, "frames", change)[1]


def test_a_missing_rescale_is_held(ward: Ward) -> None:
    def change(k: int, image: Dataset) -> None:
        del image.RescaleSlope, image.RescaleIntercept

    assert "RescaleSlope" in held(ward, "rescale", change)[0]


CHARSETS = {
    "latin": ("ISO_IR 100", "Müller^Jörg"),
    "utf8": ("ISO_IR 192", "山田^太郎"),
    "cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "none": ("", "Plain^Name"),
    "unknown": ("ISO_IR 999", "Plain^Name"),
    "a codec of Python": ("unicode_escape", "Plain^Name"),
}


@pytest.mark.parametrize("name", CHARSETS)
@pytest.mark.filterwarnings("ignore")
def test_a_name_in_any_character_set_is_processed_and_its_bytes_kept(ward: Ward, name: str) -> None:
    charset, patient = CHARSETS[name]
    images = series(f"charset {name}")
    for image in images:
        image.SpecificCharacterSet, image.PatientName, image.PatientID = charset, patient, patient[:4]
    assert ward.settled(images).state is JobState.QUEUED
    (path,) = ward.receiver.rows(f"select path from instance where sop_instance_uid = '{images[0].SOPInstanceUID}'")[0]
    assert (ward.receiver.storage / path).read_bytes().endswith(encoded(images[0]))
