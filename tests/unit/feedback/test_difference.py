"""What a person changed of an organ, against shapes worked out by hand and against two other libraries."""

import math
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
import surface_distance as sd
from scipy import ndimage

from rtseg_daemon.anatomy.volume import Array, Grid
from rtseg_daemon.feedback.difference import Difference, difference
from rtseg_daemon.feedback.surfaces import surfaces

SPACING = (2.5, 1.0, 1.25)
GRID = Grid((40, 64, 64), SPACING, (0.0, 0.0, 0.0))
FINE = Grid((48, 48, 48), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
MIDDLE = (24.0, 24.0, 24.0)


def ellipsoid(grid: Grid, middle_mm: tuple[float, ...], radii_mm: tuple[float, ...]) -> Array:
    axes = np.ogrid[tuple(slice(n) for n in grid.shape)]
    parts = zip(axes, grid.spacing_mm, middle_mm, radii_mm, strict=True)
    return np.asarray(sum(((axis * step - centre) / radius) ** 2 for axis, step, centre, radius in parts) <= 1.0)


def blob(seed: int) -> Array:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=GRID.shape), (3, 6, 5))
    return np.asarray(noise > 0.012)


def ball(radius_mm: float, middle_mm: tuple[float, ...] = MIDDLE) -> Array:
    return ellipsoid(FINE, middle_mm, (radius_mm,) * 3)


def of(ours: Array, theirs: Array) -> Difference:
    return difference(ours, theirs, FINE, "Larynx")


# --- two packages say the same -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_surface_measures_agree_with_the_surface_distance_package_within_one_percent(seed: int) -> None:
    ours, theirs = blob(seed), ndimage.shift(blob(seed).astype(float), (1, 2, -1), order=0) > 0.5
    theirs = np.asarray(theirs | blob(seed + 9))
    found = difference(ours, theirs, GRID, "Parotid_L")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        apart = sd.compute_surface_distances(ours, theirs, SPACING)
    assert found.surface_dsc_2mm == pytest.approx(sd.compute_surface_dice_at_tolerance(apart, 2.0), rel=0.01)
    assert found.tolerance_mm == 2.85
    assert found.surface_dsc == pytest.approx(sd.compute_surface_dice_at_tolerance(apart, 2.85), rel=0.01)
    assert found.hd95_mm == pytest.approx(sd.compute_robust_hausdorff(apart, 95), rel=0.01)
    assert found.dsc == pytest.approx(sd.compute_dice_coefficient(ours, theirs), rel=0.01)
    areas = [float(surface.area_mm2.sum()) for surface in surfaces(ours, theirs, SPACING)]
    assert areas[0] == pytest.approx(apart["surfel_areas_gt"].sum(), rel=0.01)
    assert areas[1] == pytest.approx(apart["surfel_areas_pred"].sum(), rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_volumes_agree_with_simpleitk_within_one_percent(seed: int) -> None:
    ours, theirs = blob(seed), blob(seed + 50)
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (ours, theirs)]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    shape = sitk.LabelShapeStatisticsImageFilter()
    found, volumes = difference(ours, theirs, GRID, "Larynx"), []
    for image in images:
        shape.Execute(image)
        volumes.append(shape.GetPhysicalSize(1) / 1000.0)
    assert found.dsc == pytest.approx(overlap.GetDiceCoefficient(1), rel=0.01)
    assert (found.our_volume_ml, found.volume_ml) == (pytest.approx(volumes[0]), pytest.approx(volumes[1]))


# --- analytic shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grown_mm", [2.0, 4.0, -3.0])
def test_a_ball_that_was_grown_all_around_is_measured_within_the_voxel(grown_mm: float) -> None:
    found = of(ball(14.0), ball(14.0 + grown_mm))
    assert found.mean_signed_distance_mm == pytest.approx(grown_mm, abs=0.6)
    assert found.hd95_mm == pytest.approx(abs(grown_mm), abs=1.0)
    assert found.volume_ml == pytest.approx(4 / 3 * math.pi * (14.0 + grown_mm) ** 3 / 1000, rel=0.02)
    assert all(value == pytest.approx(grown_mm, abs=0.8) for value in found.edited.values())


def test_a_box_moved_to_the_left_by_hand() -> None:
    """Moved by 3 mm along x: 17 of 20 columns are shared, the two faces across x lie 3 mm apart."""
    ours, theirs = np.zeros(FINE.shape, bool), np.zeros(FINE.shape, bool)
    ours[10:30, 10:30, 10:30] = True
    theirs[10:30, 10:30, 13:33] = True
    found = of(ours, theirs)
    assert found.dsc == pytest.approx(0.85)
    assert found.hd95_mm == pytest.approx(3.0)
    assert found.surface_dsc == 1.0, "3 mm is the tolerance of an organ without one of its own"
    assert 0.5 < found.surface_dsc_2mm < 1.0
    assert found.added_path_mm == pytest.approx(20 * (76 - 34)), "two rows share 17 pixels, no column is shared"
    assert found.mean_signed_distance_mm == pytest.approx(0.0, abs=0.01)
    assert found.edited["left"] == pytest.approx(2.0, abs=1.0)
    assert found.edited["right"] == pytest.approx(-2.0, abs=1.0)
    assert found.edited["superior"] == pytest.approx(0.0, abs=0.4)


def test_the_same_contour_is_untouched_and_at_no_distance() -> None:
    found = of(ball(10.0), ball(10.0))
    assert (found.dsc, found.surface_dsc_2mm, found.surface_dsc) == (1.0, 1.0, 1.0)
    assert (found.added_path_mm, found.hd95_mm, found.mean_signed_distance_mm) == (0.0, 0.0, 0.0)
    assert found.untouched_whole
    assert found.untouched == 1.0


# --- where it was edited ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "part", "sign"),
    [
        ("inferior", np.s_[4:10, 14:34, 14:34], 1),
        ("superior", np.s_[34:40, 14:34, 14:34], 1),
        ("anterior", np.s_[10:34, 14:18, 14:34], -1),
        ("posterior", np.s_[10:34, 34:40, 14:34], 1),
        ("right", np.s_[10:34, 14:34, 14:18], -1),
        ("left", np.s_[10:34, 14:34, 34:40], 1),
    ],
)
def test_an_edit_shows_where_it_was_made_and_whether_it_grew(where: str, part: tuple[slice, ...], sign: int) -> None:
    ours = np.zeros(FINE.shape, bool)
    ours[10:34, 14:34, 14:34] = True
    theirs = ours.copy()
    theirs[part] = sign > 0
    edited = {name: value or 0.0 for name, value in of(ours, theirs).edited.items()}
    assert max(edited, key=lambda name: abs(edited[name])) == where
    assert edited[where] * sign > 1.0


def test_slices_left_as_they_were_are_counted_among_all_that_either_has() -> None:
    ours = np.zeros(FINE.shape, bool)
    ours[10:20, 14:34, 14:34] = True
    theirs = ours.copy()
    theirs[8:10, 14:34, 14:34] = True
    theirs[12, 14:20, 14:34] = False
    found = of(ours, theirs)
    assert found.untouched == pytest.approx(9 / 12)
    assert not found.untouched_whole


# --- one of the two is missing ------------------------------------------------------------------------------------


def test_an_organ_that_a_person_drew_alone_has_no_distance_and_its_whole_path_was_added() -> None:
    theirs = np.zeros(FINE.shape, bool)
    theirs[10:12, 10:20, 10:20] = True
    found = difference(None, theirs, FINE, "Larynx")
    assert (found.dsc, found.surface_dsc, found.untouched) == (0.0, 0.0, 0.0)
    assert (found.hd95_mm, found.mean_signed_distance_mm) == (None, None)
    assert set(found.edited.values()) == {None}
    assert found.added_path_mm == pytest.approx(2 * 36)
    assert (found.our_volume_ml, found.volume_ml) == (0.0, pytest.approx(0.2))


def test_an_organ_that_a_person_took_out_added_no_path() -> None:
    found = difference(ball(8.0), None, FINE, "Larynx")
    assert (found.dsc, found.added_path_mm, found.volume_ml) == (0.0, 0.0, 0.0)


def test_nothing_on_either_side_and_a_mask_of_another_grid_are_errors() -> None:
    with pytest.raises(ValueError, match="nothing to compare"):
        difference(None, np.zeros(FINE.shape, bool), FINE, "Larynx")
    with pytest.raises(ValueError, match="does not fit the grid"):
        difference(ball(8.0), np.zeros((3, 3, 3), bool), FINE, "Larynx")


def test_what_the_ledger_keeps_is_json_with_every_figure() -> None:
    shape = of(ball(10.0), ball(12.0)).shape()
    assert list(shape) == [
        "dsc", "surface_dsc_2mm", "surface_dsc", "tolerance_mm", "added_path_mm", "hd95_mm", "mean_signed_distance_mm",
        "volume_ml", "our_volume_ml", "untouched", "edited", "untouched_whole",
    ]  # fmt: skip
    assert shape["dsc"] == round(shape["dsc"], 4)
    assert set(shape["edited"]) == {"inferior", "superior", "left", "right", "anterior", "posterior"}
