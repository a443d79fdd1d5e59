"""The picture for pages without script: the worst slice, the right way round, as a PNG that others can read."""

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from rtseg_daemon.errors import NotShown
from rtseg_daemon.web.viewer.cuts import Geometry
from rtseg_daemon.web.viewer.picture import organ_picture, worst_slice

GEOMETRY = Geometry((4, 20, 30), (3.0, 1.0, 2.0), (0.0, 10.0, -20.0), (0.0, 3.0, 6.0, 9.0))
SQUARE = [0.0, 14.0, 20.0, 14.0, 20.0, 24.0, 0.0, 24.0]
"""Columns 10 to 20, rows 4 to 14."""


def roi(**changes: Any) -> dict[str, Any]:
    contours = [{"z": z, "points": SQUARE} for z in (3.0, 6.0, 9.0)]
    doubts = [(3.0, 0.9), (6.0, 0.2), (9.0, 0.4)]
    return {"name": "Organ", "colour": [255, 0, 0], "slices": None, "contours": contours, "doubts": doubts} | changes


@pytest.mark.parametrize(
    ("changes", "index"),
    [
        ({}, 1),
        ({"slices": [3, 4]}, 3),
        ({"slices": [3, 4], "doubts": []}, 2),
        ({"doubts": []}, 2),
        ({"contours": [], "doubts": []}, 0),
    ],
)
def test_the_worst_slice_is_that_of_the_highest_entropy_within_what_the_line_names(
    changes: dict[str, Any], index: int
) -> None:
    assert worst_slice(roi(**changes), GEOMETRY) == index


def test_the_picture_has_the_slice_and_the_contour_where_they_are() -> None:
    hu = np.full((20, 30), 40, "<i2")
    hu[:, :5] = -1000
    asked: list[int] = []

    def slice_of(k: int) -> bytes:
        asked.append(k)
        return hu.tobytes()

    picture = np.rint(imread(io.BytesIO(organ_picture([roi()], "Organ", GEOMETRY, slice_of))) * 255).astype(int)
    assert asked == [1]
    assert picture.shape == (20, 30, 3)
    assert (picture[:, :5] == 0).all()
    assert (picture[8, 15] == picture[8, 15, 0]).all()
    red = (picture == [255, 0, 0]).all(axis=2)
    expected = np.zeros((20, 30), bool)
    expected[4:15, [10, 20]] = expected[[4, 14], 10:21] = True
    np.testing.assert_array_equal(red, expected)


def test_a_contour_that_leaves_the_image_is_drawn_as_far_as_it_goes() -> None:
    far = roi(contours=[{"z": 3.0, "points": [-9e5, 14.0, 9e5, 14.0, 0.0, 9e5]}])
    picture = organ_picture([far], "Organ", GEOMETRY, lambda _: np.zeros((20, 30), "<i2").tobytes())
    assert picture.startswith(b"\x89PNG")


def test_an_organ_without_contours_has_no_picture() -> None:
    with pytest.raises(NotShown, match="no contours"):
        organ_picture([roi(contours=[])], "Organ", GEOMETRY, lambda _: b"")
