"""The level of the rings; and CTs that are measured with their pixels divided."""

import numpy as np
import pytest
from rtseg_training.evaluate import divided, doubtful_level, joined_pixels

from rtseg_daemon.segment.organ import Organ
from rtseg_daemon.segment.volume import Box, Volume


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({0.0: [1000, 200], 0.4506: [100, 40], 0.6365: [100, 60]}, 0.45),
        ({0.0: [1000, 200], 0.4506: [300, 40], 0.6365: [100, 60]}, 0.63),
        ({0.0: [10, 9], 0.4506: [100, 40]}, None),
        ({0.0: [10, 9]}, None),
        ({}, None),
    ],
)
def test_the_level_is_the_least_from_which_on_half_of_the_voxels_are_wrong(
    levels: dict[float, list[int]], expected: float | None
) -> None:
    assert doubtful_level(levels) == expected


def test_divided_pixels_cover_what_the_pixel_covered() -> None:
    hu = np.arange(12, dtype=np.int16).reshape(1, 3, 4)
    fine = divided(Volume(hu, (2.5, 4.0, 4.0), (1.0, 2.0, 3.0)), 4)
    assert fine.shape == (1, 12, 16)
    assert fine.spacing_mm == (2.5, 1.0, 1.0)
    assert fine.origin_mm == (1.0, 0.5, 1.5)
    # between two centres, 4 mm apart, values lie an eighth, three eighths ... of the way
    assert fine.array[0, 0, 2:6] == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_a_pixel_is_the_organs_that_holds_half_of_its_parts() -> None:
    mask = np.zeros((1, 4, 6), bool)
    mask[0, :2, 0] = mask[0, 2, 2] = mask[0, :, 4:] = True
    fine = Volume(np.zeros((1, 6, 8), np.int16), (2.5, 1.0, 1.0), (0.0, 0.0, 0.0))
    organ = Organ("Larynx", Box((0, 0, 2), (1, 4, 8)), mask, None, 1.0)
    joined = joined_pixels(organ, fine, 2)
    assert joined.mask is not None
    assert joined.mask[0].astype(int).tolist() == [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
