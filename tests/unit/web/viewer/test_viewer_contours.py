"""Contours for the viewer: the points of the file, its line, and the doubt on every plane."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.reading import read_structures
from rtseg_daemon.segment.entropy_map import save_entropy_map
from rtseg_daemon.web.viewer.contours import contours_of, mean_inside, written_contours
from tests.structure_sets import Case


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Four organs, one of which is doubtful at slices 3 to 4, written to a file."""
    made = Case(tmp_path_factory.mktemp("case"))
    made.organs[1] = type(made.organs[1])(**{**made.organs[1].__dict__, "slices": (3, 4)})
    made.write()
    return made


def test_every_point_is_one_of_the_file(case: Case) -> None:
    dataset = dcmread(case.path)
    for item, roi in zip(dataset.ROIContourSequence, contours_of(read_structures(case.path), {}), strict=True):
        told = [np.array(one.ContourData, float).reshape(-1, 3) for one in item.get("ContourSequence", [])]
        drawn = [np.array(one["points"]).reshape(-1, 2) for one in roi["contours"]]
        assert len(drawn) == len(told)
        for points in told:
            assert any(len(one) == len(points) and np.abs(one - points[:, :2]).max() < 1e-3 for one in drawn)
        assert sorted({round(float(p[0, 2]), 3) for p in told}) == sorted({one["z"] for one in roi["contours"]})
        assert roi["colour"] == tuple(item.ROIDisplayColor)


def test_flag_and_slices_are_those_of_the_files_own_line(case: Case) -> None:
    rois = {roi["name"]: roi for roi in contours_of(read_structures(case.path), {})}
    assert (rois["Brainstem"]["flag"], rois["Brainstem"]["slices"]) == ("REVIEW", [3, 4])
    assert (rois["Parotid_L"]["flag"], rois["Parotid_L"]["slices"]) == ("OK", None)
    assert rois["Lens_L"]["flag"] == "REJECT"
    assert rois["Lens_L"]["contours"] == []
    assert rois["Lens_L"]["fault"]


def test_the_mean_entropy_of_a_plane_is_that_of_the_enclosed_voxels() -> None:
    entropy = Volume(np.zeros((3, 10, 10), np.float32), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    entropy.array[1, 2:6, 3:7] = 0.8
    square = np.array([[2.5, 1.5, 2.0], [6.5, 1.5, 2.0], [6.5, 5.5, 2.0], [2.5, 5.5, 2.0]])
    assert mean_inside([square], 2.0, entropy) == pytest.approx(0.8)
    hole = np.array([[3.5, 2.5, 2.0], [5.5, 2.5, 2.0], [5.5, 4.5, 2.0], [3.5, 4.5, 2.0]])
    assert mean_inside([square, hole], 2.0, entropy) == pytest.approx(0.8)
    assert mean_inside([square], 0.0, entropy) == 0.0
    assert mean_inside([square], 40.0, entropy) is None


def test_the_doubts_of_an_organ_come_from_its_own_bundles_map(case: Case, tmp_path: Path) -> None:
    grid = case.series.volume
    save_entropy_map(grid.with_array(np.full(grid.shape, 0.5, np.float32)), tmp_path / "entropy.npz")
    body = written_contours(case.path, [("han-oar", tmp_path / "entropy.npz"), ("lost", tmp_path / "nothing.npz")])
    rois = {roi["name"]: roi for roi in json.loads(gzip.decompress(body))["rois"]}
    brainstem = rois["Brainstem"]
    assert [z for z, _ in brainstem["doubts"]] == sorted({one["z"] for one in brainstem["contours"]})
    assert {mean for _, mean in brainstem["doubts"]} == {0.5}
    assert rois["Lens_L"]["doubts"] == []


def test_a_file_that_is_no_structure_set_is_an_error(case: Case) -> None:
    with pytest.raises(StructureSetError, match="no RT Structure Set"):
        written_contours(case.paths[0], [])
