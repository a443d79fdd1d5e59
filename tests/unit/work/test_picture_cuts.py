"""Which planes of an organ are shown to a reviewer."""

from typing import Any

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.work.cuts import AXIAL, CORONAL, SAGITTAL, Cut, level_in, shown_box, views_of
from tests.structure_sets import organ_of

CT = Volume(np.zeros((40, 60, 50), np.int16), (3.0, 2.0, 2.0), (-60.0, -50.0, -40.0))


def organ(**facts: Any) -> Organ:
    """A flat slab that runs from slice 5 to 34, widest from side to side."""
    mask = np.zeros(CT.shape, bool)
    mask[5:35, 28:32, 10:40] = True
    return organ_of("Larynx", mask, CT, **facts)


def entropy(*hot: int) -> Volume:
    """Members that disagree in these slices (indices), on a grid of half the resolution in the plane."""
    array = np.zeros((40, 30, 25), np.float32)
    array[list(hot)] = 0.6
    return Volume(array, (3.0, 4.0, 4.0), (-60.0, -49.0, -39.0))


def test_the_slice_where_members_disagree_most_is_shown_beside_the_middle_one() -> None:
    views = views_of(organ(), entropy(12), CT)
    assert (views.worst.index, views.middle.index) == (12, 20)
    assert views.worst.axis == views.middle.axis == AXIAL


def test_the_slice_shown_is_one_of_those_that_the_comment_names() -> None:
    found = organ(slices=(30, 33))
    assert 29 <= views_of(found, entropy(12, 31), CT).worst.index <= 32
    assert 29 <= views_of(found, entropy(12), CT).worst.index <= 32
    beside = organ(slices=(38, 40))  # where a member goes on beyond the common contour
    assert views_of(beside, entropy(12), CT).worst.index == 12


def test_the_small_ends_of_an_organ_are_not_taken_for_its_worst_slice() -> None:
    mask = np.zeros(CT.shape, bool)
    mask[5:35, 20:40, 10:40] = True
    mask[35, 30, 20] = True
    assert views_of(organ_of("Larynx", mask, CT), entropy(35, 12), CT).worst.index == 12


def test_lengthwise_is_the_plane_that_shows_most_of_the_organ() -> None:
    assert views_of(organ(), entropy(), CT).long.axis == CORONAL
    mask = np.zeros(CT.shape, bool)
    mask[5:35, 10:50, 20:24] = True
    assert views_of(organ_of("Larynx", mask, CT), entropy(), CT).long.axis == SAGITTAL


def test_the_organ_lies_wholly_in_what_is_shown() -> None:
    views = views_of(organ(), entropy(12), CT)
    for cut in (views.worst, views.long):
        box = shown_box(cut, CT.shape, CT.spacing_mm)
        assert box.start[2] <= 10
        assert box.stop[2] >= 40
    assert shown_box(views.long, CT.shape, CT.spacing_mm).start[0] <= 5


def test_without_several_members_the_planes_are_found_all_the_same() -> None:
    views = views_of(organ(), None, CT)
    assert views.middle.index == 20
    assert 5 <= views.worst.index < 35


@pytest.mark.parametrize(("axis", "index", "area"), [(AXIAL, 20, 120), (CORONAL, 30, 900), (SAGITTAL, 20, 120)])
def test_what_is_contoured_in_a_plane_is_the_organ_there(axis: int, index: int, area: int) -> None:
    found = level_in(organ(), Cut(axis, index, (0.0, 0.0), 100.0))
    assert found is not None
    assert int((found[0] > 0).sum()) == area


def test_a_plane_that_misses_the_organ_shows_none_of_it() -> None:
    assert level_in(organ(), Cut(AXIAL, 2, (0.0, 0.0), 100.0)) is None
    assert level_in(organ(), Cut(SAGITTAL, 45, (0.0, 0.0), 100.0)) is None
