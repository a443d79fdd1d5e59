"""How organs look, on shapes whose figures are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Appearance
from rtseg_daemon.anatomy.volume import Box, Volume, bounding_box
from rtseg_daemon.calibration import OrganPrior
from rtseg_daemon.segment.appearance import FARTHEST, UNUSUAL, appearance_of, continuity_of, displaced, unusual

STEP = (2.0, 4.0, 4.0)


def block(box: Box, shape: tuple[int, int, int] = (20, 20, 20)) -> tuple[np.ndarray, Volume]:
    """A block of 40 HU of class 1 in tissue of -100 HU."""
    labels = np.zeros(shape, np.uint8)
    labels[box.slices] = 1
    hu = np.where(labels == 1, 40.0, -100.0).astype(np.float32)
    return labels, Volume(hu, STEP, (-100.0, 10.0, -20.0))


def look(box: Box) -> Appearance:
    labels, volume = block(box)
    found = appearance_of(labels, 1, bounding_box(labels == 1), volume)
    assert found is not None
    return found


def test_volume_place_extent_and_tissue_of_a_block_are_its_own() -> None:
    found = look(Box((4, 6, 8), (10, 11, 14)))
    assert found.volume_ml == pytest.approx(6 * 5 * 6 * 32 / 1000)
    assert found.centre_mm == pytest.approx((-100 + 2 * 6.5, 10 + 4 * 8, -20 + 4 * 10.5))
    assert found.extent_mm == (12.0, 20.0, 24.0)
    assert (found.hu, found.contrast, found.continuity, found.at_end) == (40.0, 140.0, 1.0, False)


def test_what_is_not_there_has_no_appearance() -> None:
    labels, volume = block(Box((4, 4, 4), (6, 6, 6)))
    assert appearance_of(labels, 2, None, volume) is None
    assert appearance_of(labels, 2, Box((0, 0, 0), (3, 3, 3)), volume) is None


def test_noise_hardly_moves_the_median() -> None:
    labels, volume = block(Box((4, 4, 4), (14, 14, 14)))
    loud = volume.with_array(volume.array + np.random.default_rng(0).normal(0, 60, volume.shape).astype(np.float32))
    found = appearance_of(labels, 1, bounding_box(labels == 1), loud)
    assert found is not None
    assert found.hu == pytest.approx(40, abs=6)


@pytest.mark.parametrize("z", [0, 16])
def test_an_organ_at_an_end_of_the_region_says_so(z: int) -> None:
    assert look(Box((z, 5, 5), (z + 4, 9, 9))).at_end


def test_slices_that_jump_are_less_continuous() -> None:
    mask = np.zeros((4, 8, 8), bool)
    mask[:2, :4, :4] = mask[2:, 4:, 4:] = True
    assert continuity_of(mask) == pytest.approx(2 / 3)
    assert continuity_of(mask[:1]) == 1.0


BASE = look(Box((4, 4, 4), (8, 8, 8)))
PRIOR = OrganPrior(
    log_volume=(math.log(BASE.volume_ml), 0.2),
    extent_mm=((8, 2), (16, 2), (16, 2)),
    hu=(40, 10),
    contrast=(140, 20),
    continuity=(0.95, 0.05),
    offsets={"B": ((10, 2), (0, 2), (0, 2)), "C": ((0, 2), (10, 2), (0, 2))},
)


def at(z: float, y: float, x: float) -> Appearance:
    return replace(BASE, centre_mm=(z, y, x))


def test_an_organ_of_the_population_is_not_unusual() -> None:
    looks = {"A": at(0, 0, 0), "B": at(-10, 0, 0), "C": at(0, -10, 0)}
    figures = unusual(looks, {"A": PRIOR}, 3)["A"]
    assert tuple(figures) == UNUSUAL
    assert figures == pytest.approx(dict.fromkeys(UNUSUAL, 0.0), abs=1e-6)


def test_an_organ_out_of_its_place_among_the_others_is_displaced() -> None:
    looks = {"A": at(30, 0, 0), "B": at(-10, 0, 0), "C": at(0, -10, 0)}
    assert displaced("A", looks, PRIOR) == pytest.approx(FARTHEST / math.sqrt(3))
    assert displaced("A", {"A": looks["A"], "B": looks["B"]}, PRIOR) == 0.0  # one other tells nothing


def test_left_and_right_are_compared() -> None:
    looks = {"Parotid_L": BASE, "Parotid_R": replace(BASE, hu=70.0, volume_ml=BASE.volume_ml / 2)}
    figures = unusual(looks, {"Parotid_L": PRIOR, "Parotid_R": PRIOR}, 2)
    for one in figures.values():
        assert one["pair_hu"] == 3.0
        assert one["pair_volume"] == pytest.approx(math.log(2))


def test_no_figure_grows_without_bound() -> None:
    far = replace(BASE, hu=9e9, contrast=-9e9, volume_ml=1e12, extent_mm=(1e9, 1e9, 1e9), continuity=-1e9)
    figures = unusual({"A": far}, {"A": PRIOR}, 4)["A"]
    assert max(figures.values()) <= FARTHEST
    assert figures["missing"] == 0.75
