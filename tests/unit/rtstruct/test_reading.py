"""Structure sets of other systems become masks, or say why not."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import list_series, load_series
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.raster import rasterised
from rtseg_daemon.rtstruct.reading import read_structures, structures_on
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


PLANE = Volume(np.zeros((3, 30, 30), np.int16), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
Z = [0.0, 3.0, 6.0]


@pytest.mark.parametrize("off", [0.02, 0.05, 0.1, 0.25])
def test_islands_whose_planes_differ_by_rounding_lie_in_one_slice(off: float) -> None:
    found = rasterised([square(0.5, 10.5, 3.0), square(14.5, 24.5, 3.0 + off)], PLANE, Z)
    assert (int(found.mask[1].sum()), found.oddities(2)) == (200, [])


@pytest.mark.parametrize(("jitter", "kept"), [(0.02, True), (0.25, True), (0.4, False)])
def test_a_contour_that_jitters_by_rounding_is_axial(jitter: float, kept: bool) -> None:
    contour = square(4.5, 14.5, 3.0)
    contour[::2, 2] += jitter
    found = rasterised([contour], PLANE, Z)
    assert (int(found.mask[1].sum()), found.lost, found.oblique) == ((100, 0, 0) if kept else (0, 0, 1))


def test_the_tolerance_is_that_of_the_slice_distance() -> None:
    thin = Volume(np.zeros((3, 30, 30), np.int16), (0.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    found = rasterised([square(0.5, 10.5, 0.5), square(14.5, 24.5, 0.7)], thin, [0.0, 0.5, 1.0])
    assert (int(found.mask[1].sum()), found.lost) == (100, 1)


@pytest.mark.parametrize(("stated", "slice_"), [(0, 0), (1, 1), (None, 0), (2, 0)])
def test_the_image_that_a_contour_refers_to_decides_its_slice(stated: int | None, slice_: int) -> None:
    found = rasterised([square(4.5, 14.5, 1.4)], PLANE, Z, [stated])
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == [slice_]


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("copies", [2, 3])
def test_a_contour_that_stands_more_than_once_keeps_its_organ_and_is_told(shift: float, copies: int) -> None:
    contours = [square(4.5 + k * shift / 2, 14.5 + k * shift / 2) for k in range(copies)]
    found = rasterised([*contours, square(7.5, 11.5)], PLANE, Z)
    assert int(found.mask[0].sum()) >= 10**2 - 4**2
    assert not found.mask[0, 8:12, 8:12].any()
    assert found.oddities(copies + 1) == [
        f"{copies - 1} of {copies + 1} contours stand twice in their slice and were united"
    ]


def test_the_wall_of_an_organ_is_no_contour_that_stands_twice() -> None:
    found = rasterised([square(0.5, 28.5), square(2.5, 26.5)], PLANE, Z)
    assert (int(found.mask[0].sum()), found.twice, found.thin) == (28**2 - 24**2, 0, 0)


def test_a_hole_that_leaves_next_to_nothing_is_told() -> None:
    found = rasterised([square(0.5, 28.5), square(1.5, 27.5)], PLANE, Z)
    assert int(found.mask[0].sum()) == 28**2 - 26**2
    assert found.oddities(2) == ["1 of 2 contours lie close inside another one and were taken for holes"]


def test_contours_drawn_on_another_series_are_told(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write()
    ds = pydicom.dcmread(case.path)
    for contour in ds.ROIContourSequence[0].ContourSequence:
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    ds.save_as(case.path)
    organs, notes = structures_on(case.series, read_structures(case.path))
    assert organs[0].found
    assert notes[0].endswith("its contours were drawn on images of another series")


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
