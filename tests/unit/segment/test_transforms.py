"""Each transform against values worked out by hand, and its way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from rtseg_daemon.anatomy.volume import Grid, Volume, grid_of
from rtseg_daemon.segment.body import body_mask, centre_box, dilated, eroded, filled, largest_object
from rtseg_daemon.segment.intensity import intensity_knots, segmental_linear
from rtseg_daemon.segment.resample import block_mean, interpolate, resample, spaced_grid


def volume(array, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    return Volume(np.asarray(array), spacing, origin)


@pytest.mark.parametrize(
    ("name", "hu", "value"),
    [
        ("SLF1", -500, 0.0),
        ("SLF1", -350, 0.1),
        ("SLF1", -200, 0.2),
        ("SLF1", 0, 0.5),
        ("SLF1", 200, 0.8),
        ("SLF1", 850, 0.9),
        ("SLF1", 3000, 1.0),
        ("SLF2", 0, 0.5),
        ("SLF2", 100, 0.8),
        ("SLF2", -300, 0.1),
        ("SLF3", 150, 0.5),
        ("SLF3", 950, 0.9),
        ("NLF1", 0, 0.5),
        ("NLF1", 500, 1.0),
        ("NLF2", 150, 0.5),
        ("NLF2", -2000, 0.0),
    ],
)
def test_segmental_linear_function_at_points_worked_out_by_hand(name, hu, value):
    assert segmental_linear(np.array([hu]), *intensity_knots(name))[0] == pytest.approx(value, abs=1e-6)


def test_the_gtv_transform_clips_then_takes_the_mean_of_bodies_off():
    out = segmental_linear(np.array([-1000.0, -200.0, 66.0, 265.0, 700.0, 3000.0]), *intensity_knots("GTV"))
    assert out == pytest.approx([-266 / 199, -266 / 199, 0, 1, 634 / 199, 634 / 199])


def test_block_mean_keeps_the_centre_where_it_was():
    mean = block_mean(volume([[[0, 2, 4, 6]]], (3.0, 1.0, 1.0), (0.0, 0.0, 10.0)), (1, 1, 2))
    assert mean.array.tolist() == [[[1.0, 5.0]]]
    assert mean.origin_mm == (0.0, 0.0, 10.5)
    assert mean.spacing_mm == (3.0, 1.0, 2.0)


@pytest.mark.parametrize("factor", [(1, 2, 2), (2, 3, 4), (3, 1, 1)])
def test_block_means_are_those_of_numpy_and_leave_out_what_fills_no_block(factor):
    hu = np.random.default_rng(2).integers(-1000, 2000, (7, 9, 10)).astype(np.int16)
    n = [size // f for size, f in zip(hu.shape, factor, strict=True)]
    cut = hu[tuple(slice(0, a * f) for a, f in zip(n, factor, strict=True))]
    blocks = cut.reshape(n[0], factor[0], n[1], factor[1], n[2], factor[2])
    assert block_mean(volume(hu), factor).array == pytest.approx(blocks.mean(axis=(1, 3, 5)), rel=1e-5)


def test_a_ramp_stays_a_ramp_through_resampling():
    ramp = volume(np.broadcast_to(np.arange(40.0, dtype=np.float32), (6, 5, 40)), (2.0, 1.0, 0.5), (-3.0, 4.0, 7.0))
    grid = spaced_grid(ramp, (2.5, 1.3, 0.8))
    out = resample(ramp, grid)
    x = grid.origin_mm[2] + grid.spacing_mm[2] * np.arange(grid.shape[2])
    assert out.array[1, 1, 1:-1] == pytest.approx(((x - 7.0) / 0.5)[1:-1], abs=1e-3)


def test_the_new_grid_covers_the_same_extent():
    v = volume(np.zeros((10, 20, 30)), (3.0, 1.0, 1.0), (1.0, 2.0, 3.0))
    grid = spaced_grid(v, (2.0, 2.0, 4.0))
    for axis in range(3):
        old = v.origin_mm[axis] - v.spacing_mm[axis] / 2
        new = grid.origin_mm[axis] - grid.spacing_mm[axis] / 2
        assert new == pytest.approx(old)
        assert grid.shape[axis] * grid.spacing_mm[axis] == pytest.approx(
            v.shape[axis] * v.spacing_mm[axis], abs=grid.spacing_mm[axis] / 2
        )


def test_resampling_onto_its_own_grid_changes_nothing():
    v = volume(np.random.default_rng(1).normal(size=(4, 5, 6)), (2.5, 1.0, 1.0), (1.0, -4.0, 2.0))
    assert np.array_equal(resample(v, grid_of(v)).array, v.array.astype(np.float32))


def test_noise_is_averaged_not_sampled_where_the_grid_is_coarser():
    noise = volume(np.random.default_rng(1).normal(0, 100, (4, 64, 64)).astype(np.float32))
    coarse = resample(noise, spaced_grid(noise, (1.0, 4.0, 4.0)))
    assert coarse.array.std() == pytest.approx(100 / 4, rel=0.15)


def test_pixels_are_sampled_and_slices_averaged_where_a_bundle_says_so():
    noise = volume(np.random.default_rng(1).normal(0, 100, (8, 64, 64)).astype(np.float32))
    coarse = resample(noise, spaced_grid(noise, (2.0, 4.0, 4.0)), sampled=True)
    # a centre lies amid four pixels, of two slices each: 8 values are averaged, not 32
    assert coarse.shape == (4, 16, 16)
    assert coarse.array.std() == pytest.approx(100 / 8**0.5, rel=0.1)


@pytest.mark.parametrize("pixel", [2.0, 3.0, 3.3, 4.0])
def test_sampled_slices_are_what_linear_interpolation_says(pixel):
    hu = np.random.default_rng(2).integers(-1000, 2000, (3, 47, 61)).astype(np.int16)
    ct = volume(hu, (2.5, 1.0, 1.1), (5.0, -20.0, 3.0))
    grid = spaced_grid(ct, (2.5, pixel, pixel))
    sampled = resample(ct, grid, sampled=True)
    assert sampled.spacing_mm == grid.spacing_mm
    inside = (slice(None), slice(None, -1), slice(None, -1))  # the last centre may lie on the image's outer edge
    assert sampled.array[inside] == pytest.approx(interpolate(ct, grid).array[inside], abs=0.05)


@given(st.tuples(*[st.floats(-0.9, 0.9)] * 3))
@settings(max_examples=20, deadline=None)
def test_interpolation_at_any_offset_reproduces_a_plane(offset):
    z, y, x = np.meshgrid(*[np.arange(6.0)] * 3, indexing="ij")
    plane = volume(2 * z - y + 3 * x)
    out = interpolate(plane, Grid((3, 3, 3), (1.0, 1.0, 1.0), tuple(2 + o for o in offset)))
    expected = 2 * (2 + offset[0]) - (2 + offset[1]) + 3 * (2 + offset[2])
    assert out.array[0, 0, 0] == pytest.approx(expected, abs=1e-4)


def patient(shape=(12, 64, 64)):
    """A body of 40 x 40 voxels of water in air."""
    array = np.full(shape, -1000.0, np.float32)
    array[:, 10:50, 12:52] = 0
    return array


def test_couch_is_no_body():
    array = patient()
    array[:, 54:56, 2:62] = 50
    mask = body_mask(volume(array, (3.0, 4.0, 4.0)))
    assert mask[:, 10:50, 12:52].all()
    assert not mask[:, 52:].any()


def test_a_couch_that_touches_the_back_by_a_thin_bridge_is_cut_off():
    array = patient()
    array[:, 54:56, 2:62] = 50
    array[:, 50:54, 30:32] = 50
    assert not body_mask(volume(array, (3.0, 4.0, 4.0)))[:, 54:].any()


def test_airway_is_body():
    array = patient()
    array[:, 20:26, 28:36] = -1000
    assert body_mask(volume(array, (3.0, 4.0, 4.0)))[:, 20:26, 28:36].all()


def test_islands_of_a_ct_cut_to_the_treated_region_stay():
    array = patient()
    array[4:6] = -1000
    array[:4] = -1000
    array[:4, 38:42, 30:34] = 30
    assert body_mask(volume(array, (3.0, 4.0, 4.0)))[:4, 38:42, 30:34].all()


def test_more_air_around_the_patient_changes_nothing():
    array = patient()
    array[:, 54:56, 2:62] = 50
    array[3:, 20:26, 28:36] = -1000
    around = ((0, 3), (40, 0), (7, 25))
    wide = np.pad(array, around, constant_values=-1000.0)
    mask = body_mask(volume(array, (3.0, 4.0, 4.0)))
    assert np.array_equal(body_mask(volume(wide, (3.0, 4.0, 4.0))), np.pad(mask, around))


def test_empty_air_has_no_body():
    assert not body_mask(volume(np.full((4, 20, 20), -1000.0))).any()


def test_crop_keeps_head_and_centres_on_the_midline():
    mask = np.zeros((40, 60, 80), bool)
    mask[:18, 20:50, 0:80] = True
    mask[18:40, 20:50, 40:60] = True
    box = centre_box(mask, (1.0, 1.0, 1.0), (25.0, 100.0, 30.0))
    assert box.stop[0] == 40
    assert box.start[0] == 15
    assert (box.start[1], box.stop[1]) == (20, 50)
    assert abs((box.start[2] + box.stop[2]) / 2 - 50) <= 1


def test_largest_object_of_two():
    mask = np.zeros((1, 3, 9), bool)
    mask[0, 1, :3] = True
    mask[0, 1, 5:9] = True
    assert largest_object(mask).sum() == 4
    assert not largest_object(np.zeros((2, 2, 2), bool)).any()


MASKS = st.tuples(*[st.integers(1, 12)] * 3).flatmap(lambda shape: arrays(bool, shape))


@given(MASKS, st.sampled_from([1, 3, 5, 7, 15]), st.sampled_from([1, 3, 5]))
def test_erosion_dilation_and_filling_are_those_of_scipy_slice_by_slice(mask, tall, wide):
    box = np.ones((1, tall, wide), bool)
    assert np.array_equal(dilated(mask, (tall, wide)), ndimage.binary_dilation(mask, box))
    assert np.array_equal(eroded(mask, (tall, wide)), ndimage.binary_erosion(mask, box))
    assert np.array_equal(filled(mask), np.stack([ndimage.binary_fill_holes(piece) for piece in mask]))
