"""From which vote entropy on voxels are wrong more often than right: the level of the rings."""

import pytest
from rtseg_training.evaluate import doubtful_level


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
