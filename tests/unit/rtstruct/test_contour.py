"""Contours read back by the pixel-centre rule give the mask again, whatever the shape."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Box, Volume
from rtseg_daemon.rtstruct.contour import TOLERANCE_MM, area, outline, segment_distance, signed_field, trace
from rtseg_daemon.rtstruct.fill import enclosed
from rtseg_daemon.rtstruct.keyhole import crosses
from tests.structure_sets import ball

SPACING_MM = (2.5, 0.7, 0.9)
ORIGIN_MM = (-40.0, -10.3, 4.2)
Mask = NDArray[np.bool_]


def grid(shape: tuple[int, int, int]) -> Volume:
    return Volume(np.zeros(shape, np.int16), SPACING_MM, ORIGIN_MM)


def whole(mask: Mask, margin: NDArray[np.float32] | None = None) -> Organ:
    """An organ whose box is the whole grid, so that it may touch every border."""
    return Organ("Organ", Box((0, 0, 0), mask.shape), mask, margin, 1.0)


def read_back(organ: Organ, volume: Volume) -> NDArray[np.int64]:
    """How many contours of the organ enclose each voxel centre, points rounded as in the file."""
    times = np.zeros(volume.shape, np.int64)
    for contour in trace(organ, volume):
        points = np.round(contour.points_mm, 3)
        row, column = (points[:, 1] - ORIGIN_MM[1]) / SPACING_MM[1], (points[:, 0] - ORIGIN_MM[2]) / SPACING_MM[2]
        times[contour.index][polygon(row, column, volume.shape[1:])] += 1  # type: ignore[no-untyped-call]
    return times


masks = arrays(np.bool_, st.tuples(st.integers(1, 2), st.integers(2, 12), st.integers(2, 12)))
seeds = st.integers(0, 2**32 - 1)


@given(masks)
@settings(max_examples=80, deadline=None)
def test_any_mask_comes_back_voxel_by_voxel(mask: Mask) -> None:
    """Holes, islands in holes, single voxels, diagonals and borders; even-odd rule and union give the same."""
    assert np.array_equal(read_back(whole(mask), grid(mask.shape)), mask.astype(int))


@given(masks, seeds)
@settings(max_examples=80, deadline=None)
def test_any_margin_comes_back_voxel_by_voxel(mask: Mask, seed: int) -> None:
    """Also where post-processing moved voxels against the margin's sign, and where the margin is almost zero."""
    margin = np.random.default_rng(seed).normal(size=mask.shape) ** 3
    assert np.array_equal(read_back(whole(mask, margin.astype(np.float32)), grid(mask.shape)), mask.astype(int))


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_simplification_stays_within_its_tolerance(seed: int) -> None:
    """No point that was traced lies farther from the polygon kept than the bound."""
    noise = np.random.default_rng(seed).normal(size=(16, 16))
    margin = sum(np.roll(noise, shift, axis) for shift in range(4) for axis in (0, 1)).astype(np.float32)  # type: ignore[union-attr]
    organ = whole((margin > 0)[None], margin[None])
    dense = [path.points * [0.9, 0.7] for path in outline(organ.mask[0], organ.margin[0])]  # type: ignore[index]
    kept = [c.points_mm - [ORIGIN_MM[2], ORIGIN_MM[1]] for c in trace(organ, grid((1, 16, 16)))]
    for before, after in zip(dense, kept, strict=True):
        ends = np.roll(after, -1, axis=0)
        nearest = [segment_distance(np.tile(p, (len(after), 1)), after, ends).min() for p in before]
        assert max(nearest) <= TOLERANCE_MM + 1e-9


@pytest.mark.parametrize("radius", [0.8, 3.4, 9.7])
def test_the_boundary_of_a_ball_is_finer_than_its_voxels(radius: float) -> None:
    volume = grid((1, 30, 30))
    margin = ball(Volume(volume.array, (1.0, 1.0, 1.0), ORIGIN_MM), (0, 14.3, 15.2), radius)
    (contour,) = trace(whole(margin > 0, margin), volume)
    index = (contour.points_mm - [ORIGIN_MM[2], ORIGIN_MM[1]]) / [SPACING_MM[2], SPACING_MM[1]]
    distance = np.hypot(index[:, 1] - 14.3, index[:, 0] - 15.2) - radius
    assert np.abs(distance).mean() < (0.1 if radius > 1 else 0.2)
    assert np.abs(index.mean(axis=0) - [15.2, 14.3]).max() < 0.15  # no half-voxel shift
    assert area(index) == pytest.approx(np.pi * radius**2, rel=0.6 if radius < 1 else 0.03)


def test_a_straight_edge_has_no_points_between_its_ends() -> None:
    mask = np.zeros((1, 20, 30), bool)
    mask[0, 3:15, 4:25] = True
    (contour,) = trace(whole(mask), grid((1, 20, 30)))
    assert len(contour.points_mm) == 8  # four corners, cut off


def test_a_ring_is_one_contour_with_a_keyhole() -> None:
    mask = np.zeros((1, 12, 12), bool)
    mask[0, 2:10, 2:10] = True
    mask[0, 4:8, 4:8] = False
    (contour,) = trace(whole(mask), grid((1, 12, 12)))
    doubled, times = np.unique(contour.points_mm.round(6), axis=0, return_counts=True)
    assert (times == 2).sum() == 2  # both ends of the channel are passed twice, nothing else
    assert area(contour.points_mm) == pytest.approx((64 - 16 - 0.5 + 0.5) * 0.63, rel=0.02)
    assert len(doubled) >= 10


def test_a_thousand_holes_are_joined_in_seconds_and_come_back_voxel_by_voxel() -> None:
    mask = np.ones((1, 256, 256), bool)
    places = np.random.default_rng(0).permutation(84 * 84)[:1000]
    mask[0, 2 + places // 84 * 3, 2 + places % 84 * 3] = False
    began = time.process_time()
    (contour,) = trace(whole(mask), grid((1, 256, 256)))
    assert time.process_time() - began < 5.0
    x, y = ((contour.points_mm - (ORIGIN_MM[2], ORIGIN_MM[1])) / (SPACING_MM[2], SPACING_MM[1])).T
    rows, columns, inside = enclosed(y, x, (256, 256))
    assert np.array_equal(inside, mask[0, rows, columns])


def test_no_channel_crosses_an_outline() -> None:
    """Neither even-odd nor winding would notice a channel that runs through another hole; a union does."""
    mask = ndimage.binary_dilation(np.random.default_rng(3).random((1, 60, 60)) > 0.75)
    for contour in trace(whole(mask), grid((1, 60, 60)), tolerance_mm=0.0):
        points = contour.points_mm
        for k in channels_of(points):
            a, b = points[k], points[(k + 1) % len(points)]
            assert not crosses(a, b, points, np.roll(points, -1, axis=0))


def channels_of(points: NDArray[np.float64]) -> list[int]:
    """Numbers of the edges that are walked back somewhere."""
    edges = {(tuple(a), tuple(b)): k for k, (a, b) in enumerate(zip(points, np.roll(points, -1, axis=0), strict=True))}
    return [k for (a, b), k in edges.items() if (b, a) in edges]


def test_an_organ_at_the_border_closes_half_a_voxel_outside() -> None:
    mask = np.ones((1, 4, 5), bool)
    (contour,) = trace(whole(mask), grid((1, 4, 5)))
    assert contour.points_mm.min(axis=0) == pytest.approx([4.2 - 0.45, -10.3 - 0.35])
    assert contour.points_mm.max(axis=0) == pytest.approx([4.2 + 4.5 * 0.9, -10.3 + 3.5 * 0.7])


def test_nothing_found_gives_no_contour() -> None:
    assert trace(Organ("Lens_L", None, None, None, 0.0), grid((1, 4, 4))) == []


def test_every_contour_has_three_points_and_an_area() -> None:
    mask = np.random.default_rng(1).random((4, 30, 30)) > 0.6
    for contour in trace(whole(mask), grid((4, 30, 30))):
        assert len(contour.points_mm) >= 3
        assert area(contour.points_mm) > 0.01
        assert np.hypot(*(contour.points_mm - np.roll(contour.points_mm, 1, axis=0)).T).min() > 1e-3


def test_a_margin_that_is_no_number_falls_back_to_the_mask() -> None:
    mask = np.eye(3, dtype=bool)
    margin = np.full((3, 3), np.nan, np.float32)
    assert np.array_equal(signed_field(mask, margin), signed_field(mask, None))


@given(st.integers(3, 30), seeds)
@settings(max_examples=100, deadline=None)
def test_line_by_line_filling_follows_the_pixel_centre_rule(corners: int, seed: int) -> None:
    row, column = np.random.default_rng(seed).uniform(-6, 18, (2, corners))
    expected = np.zeros((14, 12), bool)
    expected[polygon(row, column, (14, 12))] = True  # type: ignore[no-untyped-call]
    rows, columns, inside = enclosed(row, column, (14, 12))
    found = np.zeros((14, 12), bool)
    found[rows, columns] = inside
    assert np.array_equal(found, expected)


def test_a_polygon_outside_the_image_encloses_nothing() -> None:
    _, _, inside = enclosed(np.array([-9.0, -5, -5]), np.array([2.0, 2, 7]), (14, 12))
    assert not inside.any()
