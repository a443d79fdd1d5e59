"""A department made up case by case: organs of many patients, a bundle's contours of them, and what people make of it.

Nothing is drawn from the distributions that control charts assume. Every figure comes from two masks by
`feedback.difference`: bounded shares, skewed distances, zeros where a contour was left as it was, and a gross failure
now and then.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from rtseg_daemon.anatomy.volume import Array, Grid
from rtseg_daemon.feedback.difference import difference
from rtseg_daemon.upkeep.drift.chart import Point, chart
from rtseg_daemon.upkeep.drift.measures import MEASURES, Measure, values_of_ours, values_of_returned
from rtseg_daemon.upkeep.drift.shares import share_chart

GRID = Grid((22, 36, 36), (3.0, 2.0, 2.0), (0.0, 0.0, 0.0))
MIDDLE_MM = np.array([33.0, 36.0, 36.0])
DAY = 86400.0
Values = dict[str, float]


@dataclass(frozen=True)
class World:
    """How a bundle contours and how people edit.

    Args:
        grown_mm, moved_mm: how much larger all around the bundle's contour is, and how far to the left it lies.
        rough_mm: how far it wanders about the organ.
        gross: how often it fails grossly.
        left_alone: how often people leave a contour as it is.
        expert_mm: how far two experts' contours lie apart.
        vvc, dice, flagged: median VVC, median predicted Dice, and how often a flag is not OK.
    """

    grown_mm: float = 0.0
    moved_mm: float = 0.0
    rough_mm: float = 1.2
    gross: float = 0.02
    left_alone: float = 0.25
    expert_mm: float = 0.7
    vvc: float = 0.06
    dice: float = 0.82
    flagged: float = 0.12


USUAL = World()
GROWN = World(grown_mm=2.0, left_alone=0.1)
"""Every contour 2 mm larger all around."""
MOVED = World(moved_mm=2.0, left_alone=0.1)
"""Every contour 2 mm to the left."""
SWAPPED = World(rough_mm=2.4, grown_mm=-1.5, gross=0.1, left_alone=0.05, vvc=0.11, dice=0.72, flagged=0.45)
"""Another bundle, worse than the one that was validated."""


def wandering(rng: np.random.Generator, sigma_mm: float) -> Array:
    """A smooth field on the grid: how far a surface is displaced outwards at each place, in mm."""
    coarse = rng.normal(0.0, sigma_mm, (4, 5, 5))
    return np.asarray(ndimage.zoom(coarse, [n / m for n, m in zip(GRID.shape, coarse.shape, strict=True)], order=1))


def inside_mm(middle_mm: Array, radii_mm: Array) -> Array:
    """How far each voxel's centre lies inside an ellipsoid, roughly, in mm."""
    axes = np.ogrid[tuple(slice(n) for n in GRID.shape)]
    parts = zip(axes, GRID.spacing_mm, middle_mm, radii_mm, strict=True)
    share = np.sqrt(sum(((axis * step - centre) / radius) ** 2 for axis, step, centre, radius in parts))
    return np.asarray((1.0 - share) * float(radii_mm.mean()))


def case(world: World, seed: int) -> Values:
    """Every measure of one organ of one patient."""
    rng = np.random.default_rng(seed)
    radii = np.array([20.0, 15.0, 12.0]) * rng.normal(1.0, 0.08, 3) * rng.normal(1.0, 0.08)
    middle = MIDDLE_MM + rng.uniform(-1.5, 1.5, 3)
    moved = middle + np.array([0.0, 0.0, world.moved_mm])
    grown = world.grown_mm - (6.0 if rng.random() < world.gross else 0.0)
    ours = inside_mm(moved, radii) + wandering(rng, world.rough_mm) + grown > 0
    theirs = ours
    if rng.random() >= world.left_alone:
        theirs = inside_mm(middle, radii) + wandering(rng, world.expert_mm) > 0
        if rng.random() < 0.2:  # a person ends it elsewhere
            theirs[: int(rng.integers(6, 9))] = False
    found = difference(ours, theirs, GRID, "Parotid_L").shape()
    roi = {
        "volume_ml": found["our_volume_ml"],
        "vvc": world.vvc * float(np.exp(rng.normal(0.0, 0.45))),
        "predicted_dice": 1.0 / (1.0 + (1.0 / world.dice - 1.0) * float(np.exp(rng.normal(0.0, 0.3)))),
        "flag": "REVIEW" if rng.random() < world.flagged else "OK",
    }
    return values_of_ours(roi) | values_of_returned(found)


def cases(world: World, count: int, seed: int) -> list[Values]:
    """So many patients. Other seeds are other patients."""
    return [case(world, seed * 100_000 + k) for k in range(count)]


def drawn(bank: Sequence[Values], count: int, seed: int) -> list[Values]:
    """So many cases out of many, each as often as chance has it."""
    return random.Random(seed).choices(bank, k=count)


def points(values: Sequence[Values], measure: Measure, version: str = "1.5", first: int = 0) -> list[Point]:
    """The cases in the chart of one measure, one a day."""
    numbered = enumerate(values, first)
    return [Point(k * DAY, k, version, one[measure.key]) for k, one in numbered if measure.key in one]


def alarms(series: Sequence[Point], measure: Measure) -> list[int]:
    """The cases at which a chart alarms."""
    if measure.is_share:
        return [ten.alarm_case for ten in share_chart(series) if ten.alarm_case is not None]
    return [one.point.case for one in chart(series, measure) if one.alarm]


def alarms_of(values: Sequence[Values], version: str = "1.5") -> dict[str, list[int]]:
    """Measure -> the cases at which its chart alarms, over all charts of one organ."""
    return {measure.key: alarms(points(values, measure, version), measure) for measure in MEASURES}


def first_alarm(before: Sequence[Values], after: Sequence[Values], version: str = "1.5") -> int | None:
    """After how many cases of `after` any chart of the organ alarms, 1 for the first one. None where none does.

    `version` is what the bundle calls itself afterwards.
    """
    found = []
    for measure in MEASURES:
        series = points(before, measure) + points(after, measure, version, len(before))
        found += [number - len(before) + 1 for number in alarms(series, measure) if number >= len(before)]
    return min(found, default=None)


def naive_alarms(values: Sequence[Values], measure: Measure) -> int:
    """How many cases of a chart break one of Nelson's rules: what would be told if every mark were."""
    if measure.is_share:
        return 0
    return sum(bool(one.marks) for one in chart(points(values, measure), measure))
