"""Scores of two masks against values worked out by hand and against a second library."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from rtseg_training.measure.metrics import compare
from rtseg_training.sets.organs import side_of, weighted_mean
from scipy import ndimage

from rtseg_daemon.anatomy.overlap import added_path_mm, dice
from rtseg_daemon.anatomy.volume import Array

SPACING = (2.5, 1.0, 1.0)


def block(z: slice, y: slice, x: slice) -> Array:
    mask = np.zeros((12, 24, 24), bool)
    mask[z, y, x] = True
    return mask


CUBE = block(slice(3, 8), slice(6, 16), slice(6, 16))


def blob(seed: int) -> Array:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(16, 40, 40)), (2, 4, 4))
    return np.asarray(noise > 0.02)


def test_the_same_mask_is_perfect() -> None:
    scores = compare(CUBE, CUBE, SPACING)
    assert scores.as_row() == {
        "dice": 1.0, "hd95_mm": 0.0, "assd_mm": 0.0, "surface_dice": 1.0, "added_path_mm": 0.0, "volume_error": 0.0,
    }  # fmt: skip


def test_a_shift_by_hand() -> None:
    """Moved by 2 mm along x: 8 of 10 columns shared; the two faces across x are 2 mm apart."""
    moved = block(slice(3, 8), slice(6, 16), slice(8, 18))
    scores = compare(CUBE, moved, SPACING, tolerance_mm=1.0)
    assert scores.dice == pytest.approx(0.8)
    assert scores.hd95_mm == pytest.approx(2.0)
    assert scores.volume_error == 0.0
    assert 0.5 < scores.surface_dice < 0.9
    assert compare(CUBE, moved, SPACING, tolerance_mm=2.0).surface_dice == pytest.approx(1.0)


def test_added_path_by_hand() -> None:
    """A 10 x 10 square has 36 contour pixels; moved by 2 columns it shares the 8 common ones of two rows."""
    moved = block(slice(3, 8), slice(6, 16), slice(8, 18))
    assert added_path_mm(CUBE, moved, SPACING) == pytest.approx(5 * (36 - 16) * 1.0)
    assert added_path_mm(CUBE, moved, SPACING, tolerance_mm=2.0) == pytest.approx(0.0)
    assert added_path_mm(CUBE, np.zeros_like(CUBE), SPACING) == pytest.approx(5 * 36)


def test_relative_volume_error_keeps_its_sign() -> None:
    assert compare(CUBE, block(slice(3, 8), slice(6, 16), slice(6, 11)), SPACING).volume_error == pytest.approx(-0.5)


def test_an_organ_that_was_missed_has_dice_zero_and_no_distance() -> None:
    scores = compare(CUBE, np.zeros_like(CUBE), SPACING)
    assert (scores.dice, scores.surface_dice) == (0.0, 0.0)
    assert math.isinf(scores.hd95_mm)
    assert math.isinf(scores.assd_mm)


def test_no_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match="true mask is empty"):
        compare(np.zeros_like(CUBE), CUBE, SPACING)


@pytest.mark.parametrize("seed", range(4))
def test_dice_agrees_with_simpleitk(seed: int) -> None:
    a, b = blob(seed), blob(seed + 50)
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(*(sitk.GetImageFromArray(m.astype(np.uint8)) for m in (a, b)))
    assert dice(a, b) == pytest.approx(measure.GetDiceCoefficient(1))


@pytest.mark.parametrize("seed", range(4))
def test_surface_distances_agree_with_simpleitk_within_half_a_voxel(seed: int) -> None:
    """SimpleITK measures between voxel centres and weighs border voxels alike, surface-distance between surfels."""
    a, b = blob(seed), ndimage.shift(blob(seed).astype(float), (1, 2, -1), order=0) > 0.5
    measure = sitk.HausdorffDistanceImageFilter()
    images = [sitk.GetImageFromArray(m.astype(np.uint8)) for m in (a, b)]
    for image in images:
        image.SetSpacing(SPACING[::-1])
    borders = [sitk.LabelContour(image, fullyConnected=False) for image in images]
    measure.Execute(*borders)
    scores = compare(np.asarray(a), np.asarray(b), SPACING)
    assert scores.assd_mm == pytest.approx(measure.GetAverageHausdorffDistance(), abs=0.75)
    assert scores.hd95_mm <= measure.GetHausdorffDistance() + 1.25


def test_the_papers_weighted_mean_takes_the_organs_that_it_weighs() -> None:
    assert weighted_mean({"Brainstem": 0.9, "Parotid_L": 0.6, "Esophagus": 0.0}) == pytest.approx((90 + 30) / 150)
    assert weighted_mean({"Esophagus": 0.5}) is None


def test_sides() -> None:
    assert [side_of(n) for n in ("Parotid_L", "Parotid_R", "Larynx")] == ["left", "right", "none"]
