"""The gate after writing finds every kind of file that is not what the masks say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from skimage.draw import polygon

from rtseg_daemon.gates.written_file import differences, pixels_inside
from tests.structure_sets import Case
from tests.synthetic import ORIENTATIONS


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_a_good_file_passes_in_every_orientation(tmp_path: Path, position: str) -> None:
    case = Case(tmp_path, position, shuffle=True)
    case.write()
    assert differences(case.path, case.series, case.organs) == []


def test_a_destinations_file_passes_with_its_own_options(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write(rejected="send", only=["Lens_L", "Parotid_L"], roi_names={"Lens_L": "Linse li"})
    options = {"only": ["Lens_L", "Parotid_L"], "roi_names": {"Lens_L": "Linse li"}}
    assert differences(case.path, case.series, case.organs, rejected="send", **options) == []  # type: ignore[arg-type]
    assert differences(case.path, case.series, case.organs, **options) == [  # type: ignore[arg-type]
        "Linse li: has contours though it is rejected or was not found"
    ]


def test_rings_are_read_back_too(tmp_path: Path) -> None:
    case = Case(tmp_path)
    parotid, brainstem = case.organs[:2]
    case.write(rings=[brainstem, parotid])
    assert differences(case.path, case.series, case.organs, rings=[brainstem, parotid]) == []
    assert differences(case.path, case.series, case.organs, rings=[brainstem]) == [
        "zParotid_L: nobody asked for this ROI"
    ]
    swapped = [replace(parotid, name="Brainstem"), replace(brainstem, name="Parotid_L")]
    reasons = differences(case.path, case.series, case.organs, rings=swapped)
    assert [reason.split(":")[0] for reason in reasons] == ["zBrainstem", "zParotid_L"]


def moved(axis: int, by_mm: float) -> Callable[[Dataset], None]:
    def spoil(ds: Dataset) -> None:
        for item in ds.ROIContourSequence:
            for contour in item.get("ContourSequence", []):
                data = np.array(contour.ContourData, float)
                data[axis::3] += by_mm
                contour.ContourData = [f"{v:.3f}" for v in data]

    return spoil


def mirrored(ds: Dataset) -> None:
    for item in ds.ROIContourSequence:
        for contour in item.get("ContourSequence", []):
            data = np.array(contour.ContourData, float)
            data[0::3] = -data[0::3]
            contour.ContourData = [f"{v:.3f}" for v in data]


def without_a_slice(ds: Dataset) -> None:
    del ds.ROIContourSequence[0].ContourSequence[3]


def swapped_names(ds: Dataset) -> None:
    a, b = ds.StructureSetROISequence[:2]
    a.ROIName, b.ROIName = b.ROIName, a.ROIName


def foreign_image(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[0].ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def image_missing(ds: Dataset) -> None:
    study = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    del study.RTReferencedSeriesSequence[0].ContourImageSequence[0]


def other_frame(ds: Dataset) -> None:
    ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3"


def other_patient(ds: Dataset) -> None:
    ds.PatientID = "OTHER"


def two_points(ds: Dataset) -> None:
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = list(contour.ContourData)[:6]
    contour.NumberOfContourPoints = 2


def wrong_count(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[0].NumberOfContourPoints = 99


def renamed(ds: Dataset) -> None:
    ds.StructureSetROISequence[0].ROIName = "Heart"


def open_line(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "OPEN_PLANAR"


SPOILED: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "half a pixel off in x": (moved(0, 0.45), "Dice"),
    "half a pixel off in y": (moved(1, 0.35), "Dice"),
    "off the slice": (moved(2, 0.5), "lies off the image"),
    "mirrored": (mirrored, "Dice"),
    "a slice lost": (without_a_slice, "Dice"),
    "names swapped": (swapped_names, "Dice"),
    "an image of another series": (foreign_image, "outside the series"),
    "an image not listed": (image_missing, "images referred to"),
    "another frame of reference": (other_frame, "another frame of reference"),
    "another patient": (other_patient, "PatientID"),
    "two points": (two_points, "at least three points"),
    "count of points wrong": (wrong_count, "NumberOfContourPoints"),
    "an organ missing": (renamed, "no such ROI"),
    "an open contour": (open_line, "not a closed polygon"),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_file_is_held_with_its_reason(tmp_path: Path, fault: str) -> None:
    spoil, reason = SPOILED[fault]
    case = Case(tmp_path)
    case.write()
    ds = pydicom.dcmread(case.path)
    spoil(ds)
    ds.save_as(case.path)
    reasons = differences(case.path, case.series, case.organs)
    assert any(reason in line for line in reasons), reasons
    assert "PHANTOM1" not in " ".join(reasons)


def test_a_long_contour_is_filled_in_bands_as_in_one_piece() -> None:
    angle = np.linspace(0, 2 * np.pi, 900, endpoint=False)
    radius = 20 + 6 * np.sin(23 * angle) + np.random.default_rng(0).uniform(-2, 2, angle.size)
    row, column = 24.3 + radius * np.cos(angle), 29.1 + radius * np.sin(angle)
    for polygon_row in (row, row - 15, row + 20):
        rows, columns = pixels_inside(polygon_row, column, (52, 60))
        whole, banded = np.zeros((2, 52, 60), bool)
        whole[polygon(polygon_row, column, (52, 60))] = True  # type: ignore[no-untyped-call]
        banded[rows, columns] = True
        assert np.array_equal(whole, banded)
        assert len(rows) == banded.sum()
