"""Which slices a person left as they were, by contours that a planning system has rounded, turned or drawn anew."""

import numpy as np
import pytest

from rtseg_daemon.anatomy.volume import Array, Grid
from rtseg_daemon.feedback.difference import difference
from rtseg_daemon.feedback.untouched import alike, by_slice, farthest_mm

GRID = Grid((4, 40, 40), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def circle(radius: float = 10.0, points: int = 60, z: float = 0.0, start: int = 0) -> Array:
    angle = np.roll(np.linspace(0, 2 * np.pi, points, endpoint=False), start)
    return np.stack([20 + radius * np.cos(angle), 20 + radius * np.sin(angle), np.full(points, z)], axis=1)


def test_points_that_were_rounded_or_begin_elsewhere_are_the_same_contour() -> None:
    rounded = np.round(circle(start=7)[::-1], 1)
    assert alike([circle()], [rounded], 0.5)


def test_a_contour_drawn_with_other_points_along_the_same_line_is_untouched() -> None:
    assert alike([circle(points=60)], [circle(points=97)], 0.2)


def test_an_edit_of_a_millimetre_at_one_place_is_an_edit() -> None:
    moved = circle()
    moved[5, 0] += 1.0
    assert not alike([circle()], [moved], 0.5)


def test_a_contour_more_or_fewer_is_an_edit_and_the_order_of_contours_is_none() -> None:
    small = circle(3.0)
    assert alike([circle(), small], [small, circle()], 0.2)
    assert not alike([circle(), small], [circle()], 0.2)
    assert not alike([], [circle()], 0.2)


def test_the_farthest_point_is_measured_to_the_line_and_not_to_its_points() -> None:
    square = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])
    assert farthest_mm(np.array([[5.0, -2.0]]), square) == pytest.approx(2.0)


def test_contours_count_where_rounding_moved_a_voxel() -> None:
    """A pixel's centre lies on the rounded line: the masks differ, and nobody has edited anything."""
    ours, theirs = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    ours[1:3, 11:30, 11:30] = True
    theirs[1:3, 11:30, 11:30] = True
    theirs[1, 11, 20] = False
    lines = {1: [circle()], 2: [circle()]}
    rounded = {1: [np.round(circle(), 1)], 2: [np.round(circle(), 1)]}
    assert difference(ours, theirs, GRID, "Larynx").untouched == 0.5
    found = difference(ours, theirs, GRID, "Larynx", (lines, rounded))
    assert found.untouched_whole


def test_contours_are_put_to_the_slices_they_lie_on() -> None:
    contours = [circle(z=0.02), circle(z=3.0), circle(4.0, z=3.0), circle(z=40.0)]
    found = by_slice(contours, [0.0, 3.0, 6.0, 9.0], 3.0)
    assert {k: len(lines) for k, lines in found.items()} == {0: 1, 1: 2}
