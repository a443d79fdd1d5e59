"""Limits of a control chart for single values, from the first cases of a version. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

STAGES = {20: "provisional", 50: "set", 150: "set anew"}
"""From so many cases on limits are made, and made again, of all cases up to then."""
SIGMAS = 3.0
"""Of the limits: Nelson's first rule."""
SURE_SIGMAS = 3.5
"""Of the mean of a run that alarms."""
RUN = 9
"""Cases in a row on one side: Nelson's second rule."""
FARTHEST = 2
"""So many of a run, the farthest, do not count for its mean: a gross failure among them is no drift."""
MEAN_RANGE = 1.128
"""Mean of the range of two values in their standard deviations (d2 for n = 2)."""
RANGE_LIMIT = 3.267
"""Upper limit of the moving range in its means (D4 for n = 2)."""
MEDIAN_RANGE = 0.954
"""Median of the range of two values in their standard deviations."""
STRAY_SIGMAS = 4.0
MOST_STRAY = 0.1


@dataclass(frozen=True)
class Limits:
    """Limits on the measure's scale.

    Args:
        cases: how many they were made of.
        stage: `provisional`, `set`, `set anew`.
        centre, sigma: middle and spread of those cases.
        low, high: Nelson's limits, wider where few cases are known.
        run: so far from the centre the mean of a run must lie before anybody is told.
        sure_low, sure_high: beyond these a value lies beyond the limit and beyond all that was seen among those cases.
        range_high: upper limit of the moving range.
    """

    cases: int
    stage: str
    centre: float
    sigma: float
    low: float
    high: float
    run: float
    sure_low: float
    sure_high: float
    range_high: float


def limits_of(values: Sequence[float], stage: str, least_sigma: float) -> Limits:
    """The limits that `values`, oldest first, give. Raises ValueError for fewer than three."""
    if len(values) < 3:
        raise ValueError(f"{len(values)} values make no limits")
    kept = without_strays(values, least_sigma)
    ranges = moving_ranges(kept)
    mean_range = math.fsum(ranges) / len(ranges)
    centre, count = math.fsum(kept) / len(kept), len(kept)
    spread = math.sqrt(math.fsum((value - centre) ** 2 for value in kept) / (count - 1))
    sigma = max(least_sigma, mean_range / MEAN_RANGE, spread)
    wide = student(SIGMAS, count - 1) * math.sqrt(1 + 1 / count) * sigma
    return Limits(
        cases=len(values),
        stage=stage,
        centre=centre,
        sigma=sigma,
        low=centre - wide,
        high=centre + wide,
        run=student(SURE_SIGMAS, count - 1) * math.sqrt(1 / (RUN - FARTHEST) + 1 / count) * sigma,
        sure_low=min(centre - wide, *values),
        sure_high=max(centre + wide, *values),
        range_high=RANGE_LIMIT * max(mean_range, MEAN_RANGE * least_sigma),
    )


def without_strays(values: Sequence[float], least_sigma: float) -> list[float]:
    """The values without those far off, if these are few: a gross failure among the first cases widens no limit."""
    middle = statistics.median(values)
    sigma = max(least_sigma, statistics.median(moving_ranges(values)) / MEDIAN_RANGE)
    kept = [value for value in values if abs(value - middle) <= STRAY_SIGMAS * sigma]
    return kept if len(kept) >= (1 - MOST_STRAY) * len(values) else list(values)


def moving_ranges(values: Sequence[float]) -> list[float]:
    """How far each value lies from the one before it."""
    return [abs(after - before) for before, after in pairwise(values)]


def student(sigmas: float, freedom: int) -> float:
    """The quantile of Student's t that a normal value reaches at `sigmas`, by Hill's series in 1 / freedom.

    Where a spread is known from few cases, so many sigmas more are needed for the same risk.
    """
    z, n = sigmas, float(freedom)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3
