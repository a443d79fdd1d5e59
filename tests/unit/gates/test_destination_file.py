"""The gate before sending finds every file that is not the judged one under the configured names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset

from rtseg_daemon.gates.destination_file import deviations
from rtseg_daemon.rtstruct.renamed import for_destination
from tests.structure_sets import Case, case_with_rings, destination

NAMES = {"Parotid_L": "OHRSPDR LI", "Brainstem": "STEM"}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return case_with_rings(tmp_path)


@pytest.mark.parametrize(
    "wishes",
    [
        {"roi_names": NAMES},
        {"only": ["Brainstem", "Lens_R"]},
        {"roi_names": NAMES, "only": ["Parotid_L"], "colours": {"Parotid_L": (1, 2, 3)}},
        {"flag_in_name": True, "review_colour": (255, 255, 0)},
        {"roi_names": NAMES, "flag_in_name": True},
    ],
)
def test_the_file_that_was_asked_for_passes(case: Case, wishes: dict[str, Any]) -> None:
    tps = destination(**wishes)
    assert deviations(case.path, for_destination(case.path, tps), tps) == []


def numbers(dataset: Dataset) -> dict[str, int]:
    return {str(roi.ROIName): int(roi.ROINumber) for roi in dataset.StructureSetROISequence}


def sides_swapped(dataset: Dataset) -> None:
    """What is called the left gland has the contours of something else, and the other way round."""
    first, second = dataset.ROIContourSequence[:2]
    first.ReferencedROINumber, second.ReferencedROINumber = second.ReferencedROINumber, first.ReferencedROINumber


def mirrored(dataset: Dataset) -> None:
    """The left gland lies on the right."""
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        data = [float(value) for value in contour.ContourData]
        contour.ContourData = [f"{-v:.3f}" if k % 3 == 0 else f"{v:.3f}" for k, v in enumerate(data)]


def called_right(dataset: Dataset) -> None:
    dataset.StructureSetROISequence[0].ROIName = "OHRSPDR RE"


def called_alike(dataset: Dataset) -> None:
    dataset.StructureSetROISequence[1].ROIName = "OHRSPDR LI"


def one_too_few(dataset: Dataset) -> None:
    del dataset.StructureSetROISequence[1]


def other_patient(dataset: Dataset) -> None:
    dataset.PatientID = "OTHER"


def on_another_image(dataset: Dataset) -> None:
    dataset.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


SPOILED: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "contours swapped": (sides_swapped, "OHRSPDR LI: its contours are not those of Parotid_L"),
    "the left organ lies on the right": (mirrored, "OHRSPDR LI: its contours are not those of Parotid_L"),
    "another name than configured": (called_right, "OHRSPDR RE: the configuration names no ROI so"),
    "two of one name": (called_alike, "two ROIs have one name"),
    "an organ missing": (one_too_few, "STEM: the file has no such ROI"),
    "another patient": (other_patient, "PatientID is not that of the judged file"),
    "another image": (on_another_image, "OHRSPDR LI: its contours are not those of Parotid_L"),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_file_that_is_not_the_judged_one_is_told_with_its_reason(case: Case, fault: str) -> None:
    spoil, reason = SPOILED[fault]
    tps = destination(roi_names=NAMES)
    path = for_destination(case.path, tps)
    dataset = pydicom.dcmread(path)
    spoil(dataset)
    dataset.save_as(path)
    reasons = deviations(case.path, path, tps)
    assert reason in reasons
    assert "PHANTOM1" not in " ".join(reasons)


def test_a_configured_name_of_the_other_side_is_not_sent_though_the_file_has_it(case: Case) -> None:
    tps = destination(roi_names={"Parotid_L": "Parotid_R"})
    wrong = "names the right side, on which Parotid_L does not lie"
    assert deviations(case.path, for_destination(case.path, tps), tps) == [
        f"'Parotid_R' {wrong}",
        f"'zParotid_R' {wrong}",
    ]


def test_a_flag_that_is_missing_in_a_name_is_found(case: Case) -> None:
    tps = destination(flag_in_name=True)
    path = for_destination(case.path, tps)
    dataset = pydicom.dcmread(path)
    roi = next(roi for roi in dataset.StructureSetROISequence if roi.ROIName == "Brainstem_RVW")
    roi.ROIName = "Brainstem"
    dataset.save_as(path)
    assert deviations(case.path, path, tps) == [
        "Brainstem_RVW: the file has no such ROI",
        "Brainstem: the configuration names no ROI so",
    ]


def test_an_organ_to_review_in_another_colour_than_asked_for_is_found(case: Case) -> None:
    tps = destination(review_colour=(255, 255, 0))
    path = for_destination(case.path, tps)
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[1].ROIDisplayColor = [0, 255, 0]
    dataset.save_as(path)
    assert deviations(case.path, path, tps) == ["ROI 2 is not OK, and not in the destination's review_colour"]
