"""Which files of a series are its images: no localizers, and one of two exports of an image."""

import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from rtseg_daemon.anatomy.volume import Array, Volume
from tests.unit.training.sets.trees import ORGANS, Change, read


def localizer(tree: Path) -> None:
    """A sagittal scout of the CT's own series beside it."""
    ct = tree / "2026" / "plan" / "ct"
    dataset = pydicom.dcmread(next(ct.glob("*.dcm")))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.8"
    dataset.save_as(ct / "scout.dcm")


def exported_again(tree: Path, how: Change | None = None) -> None:
    """The CT a second time in the tree, the first file of it changed."""
    ct, twice = tree / "2026" / "plan" / "ct", tree / "again"
    shutil.copytree(ct, twice)
    if how is not None:
        path = min(twice.iterdir())
        dataset = pydicom.dcmread(path)
        how(dataset)
        dataset.save_as(path)


def test_a_localizer_in_the_series_is_left_out(tree: Path, source: tuple[Path, Volume, dict[str, Array]]) -> None:
    (whole,), _ = read(source[0])
    localizer(tree)
    (case,), report = read(tree)
    assert report.left_out == []
    assert np.array_equal(case.ct.array, whole.ct.array)
    assert f"{case.name}: left out of its CT series: 1 localizers, reports or screens" in report.notes


def test_a_series_of_localizers_is_no_ct(tree: Path) -> None:
    localizer(tree)
    for path in (tree / "2026" / "plan" / "ct").glob("CT*.dcm"):
        path.unlink()
    cases, report = read(tree)
    assert cases == []
    assert any("holds no axial images, only 1 localizers, reports or screens" in line for line in report.left_out)


def test_a_ct_that_was_exported_twice_is_taken_once(tree: Path, source: tuple[Path, Volume, dict[str, Array]]) -> None:
    (whole,), _ = read(source[0])
    exported_again(tree)
    (case,), report = read(tree)
    assert report.left_out == []
    assert np.array_equal(case.ct.array, whole.ct.array)
    assert np.array_equal(case.bits, whole.bits)
    count = len(list((tree / "again").iterdir()))
    assert f"{case.name}: {count} of its CT images lie in more than one file; one of each was taken" in report.notes


def other_pixel(dataset: Dataset) -> None:
    dataset.PixelData = b"\x07" + dataset.PixelData[1:]


def other_place(dataset: Dataset) -> None:
    dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], float(dataset.ImagePositionPatient[2]) + 0.5]


@pytest.mark.parametrize(("how", "what"), [(other_pixel, "pixels"), (other_place, "position")])
def test_two_files_of_one_image_that_differ_are_refused(tree: Path, how: Change, what: str) -> None:
    exported_again(tree, how)
    cases, report = read(tree)
    assert cases == []
    (line,) = [line for line in report.left_out if "differ" in line]
    assert re.search(rf"file_\w+ and file_\w+ are one image by their SOPInstanceUID, but differ in {what}", line)
    assert "keep the right one in the tree, import again" in line
    assert "send" not in line


def test_another_name_in_the_second_export_is_no_difference(tree: Path) -> None:
    exported_again(tree, lambda ds: ds.__setattr__("PatientName", "Anonymous"))
    (case,), report = read(tree)
    assert report.left_out == []
    assert set(case.structures) == set(ORGANS)
