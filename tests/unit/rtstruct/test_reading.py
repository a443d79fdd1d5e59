"""Structure sets of other systems become masks, or say why not."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import list_series, load_series
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.reading import rasterised, read_structures, structures_on
from tests.structure_sets import Case, patients
from tests.synthetic import ORIENTATIONS, sample_volume, write_series


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_our_own_file_comes_back_as_its_masks(tmp_path: Path, position: str) -> None:
    case = Case(tmp_path, position)
    case.write(rejected="send")
    organs, notes = structures_on(case.series, read_structures(case.path))
    assert notes == ["'Lens_R': it has no contours"]
    for before, after in zip(case.organs, organs, strict=True):
        assert after.name == before.name
        assert after.volume_ml == pytest.approx(before.volume_ml)
        if before.box is not None and after.box is not None:
            full = np.zeros((2, *case.volume.shape), bool)
            full[0][before.box.slices], full[1][after.box.slices] = before.mask, after.mask
            assert np.array_equal(full[0], full[1])


def square(low: float, high: float, z: float = 0.0) -> np.ndarray:
    return np.array([[low, low, z], [high, low, z], [high, high, z], [low, high, z]])


def test_nested_contours_are_holes_and_islands_and_overlapping_ones_unite() -> None:
    volume = Volume(np.zeros((1, 30, 30), np.int16), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    nested = rasterised([square(8.5, 20.5), square(4.5, 24.5), square(11.5, 16.5)], volume, [0.0])
    assert (int(nested.mask.sum()), nested.lost) == (20**2 - 12**2 + 5**2, 0)
    united = rasterised([square(0.5, 10.5), square(6.5, 16.5)], volume, [0.0])
    assert int(united.mask.sum()) == 2 * 10**2 - 4**2


def test_a_contour_between_slices_goes_to_the_nearest_and_one_outside_is_counted() -> None:
    volume = Volume(np.zeros((2, 30, 30), np.int16), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    found = rasterised([square(4.5, 8.5, 0.7), square(4.5, 8.5, 5.0)], volume, [0.0, 2.0])
    assert (int(found.mask[0].sum()), int(found.mask[1].sum()), found.lost, found.moved) == (16, 0, 1, 1)
    assert found.oddities(2) == [
        "1 of 2 contours lie on no slice",
        "1 of 2 contours lie beside their slice and were taken for it",
    ]


def test_planes_closer_than_the_slices_make_no_holes_of_each_other() -> None:
    volume = Volume(np.zeros((2, 30, 30), np.int16), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    contours = [square(4.5, 24.5, 0.0), square(5.5, 23.5, 0.9), square(4.5, 24.5, 2.0), square(8.5, 12.5, 2.0)]
    found = rasterised(contours, volume, [0.0, 2.0])
    assert (int(found.mask[0].sum()), int(found.mask[1].sum())) == (20**2, 20**2 - 4**2)
    assert (found.lost, found.moved) == (1, 0)


def test_another_scans_structure_set_is_refused(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write()
    other = load_series(write_series(tmp_path / "other", sample_volume(), seed=7))
    with pytest.raises(StructureSetError, match="another scan"):
        structures_on(other, read_structures(case.path))


def spoilt(case: Case, fault: str) -> Path:
    """The case's file with one thing wrong in its first ROI's first contour, or missing altogether."""
    case.write()
    ds = pydicom.dcmread(case.path)
    contour: Dataset = ds.ROIContourSequence[0].ContourSequence[0]
    values = [float(v) for v in contour.ContourData]
    if fault == "no ROIs":
        del ds.StructureSetROISequence
    elif fault == "no contours":
        del ds.ROIContourSequence
    elif fault == "a point":
        contour.ContourGeometricType = "POINT"
    elif fault == "tilted contour":
        contour.ContourData = [v + (i == 2) for i, v in enumerate(values)]
    else:
        contour.ContourData = values[:-1]
    ds.save_as(case.path)
    return case.path


@pytest.mark.parametrize("fault", ["no contours", "tilted contour", "a point", "not a triplet"])
def test_a_faulty_contour_is_left_out(tmp_path: Path, fault: str) -> None:
    case = Case(tmp_path)
    case.write()
    before = [len(s.contours) for s in read_structures(case.path)]
    after = [len(s.contours) for s in read_structures(spoilt(case, fault))]
    assert after[0] == (0 if fault == "no contours" else before[0] - 1)


def test_a_file_without_rois_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StructureSetError, match="no ROIs"):
        read_structures(spoilt(Case(tmp_path), "no ROIs"))


def test_an_image_or_a_text_is_no_structure_set(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (tmp_path / "a.txt").write_text("structure set")
    for path in (case.paths[0], tmp_path / "a.txt"):
        with pytest.raises(StructureSetError):
            read_structures(path)


@pytest.mark.patients
@pytest.mark.parametrize("folder", ["rtstruct_vendors", "rtstruct_small"])
def test_structure_sets_of_all_planning_systems_are_read(folder: str) -> None:
    for path in sorted(patients("dicom", folder).iterdir()):
        structures = read_structures(path)
        assert structures, path.name
        for structure in structures:
            assert bool(structure.contours) != bool(structure.fault), (path.name, structure.name)


@pytest.mark.patients
@pytest.mark.parametrize("folder", ["fuzz/killers", "odd_orthanc_tests", "odd_ct_misc"])
def test_hostile_files_are_refused_with_a_reason(folder: str) -> None:
    for path in sorted(patients("dicom", *folder.split("/")).iterdir()):
        with pytest.raises(StructureSetError, match=r"is no|cannot be read|broken|deflated"):
            read_structures(path)


@pytest.mark.patients
def test_arias_nested_holes_and_organs_have_plausible_volumes() -> None:
    folder = patients("dicom", "thorax_lung1_003_aria")
    (paths,) = list_series(folder).values()
    organs, notes = structures_on(load_series(paths), read_structures(folder / "1-1.dcm"))
    volume_ml = {organ.name: organ.volume_ml for organ in organs}
    assert notes == []
    assert 300 < volume_ml["Heart"] < 1200
    assert 1000 < volume_ml["Lung-Left"] < 4000
    assert 20 < volume_ml["Spinal-Cord"] < 120
