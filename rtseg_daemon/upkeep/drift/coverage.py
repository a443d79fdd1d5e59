"""Whether the predicted Dice keeps its word: how often the Dice of what came back lies in its 90 % interval. Pure.

A contour that was left as it was has Dice 1, above any interval. Above is no danger: our own contour was the start of
what came back. Below is one: 5 in 100 may lie there, whether or not others were left as they were.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BELOW = 0.05
"""The share that may lie below a 90 % interval."""
OF_LATE = 50
"""So many of the last cases are counted."""
FEWEST = 20
RARE = 1e-4
"""Chance of so many below, from which on a person is told."""


@dataclass(frozen=True)
class Foretold:
    """One organ of one case: the interval that was predicted, and the Dice of what came back.

    Args:
        at: seconds since 1970.
        case: the job's number.
        untouched: whether it was left as it was.
    """

    at: float
    case: int
    low: float
    high: float
    dsc: float
    untouched: bool = False


@dataclass(frozen=True)
class Coverage:
    """How often the Dice lay in the interval, below and above it.

    Args:
        cases: all of them, `untouched` of which were left as they were.
        late_below: how many of the last `late` cases lay below.
        chance: of as many or more of those, where 5 in 100 may lie below.
        alarm_case: the first case at which a person is told, None where none is.
        told: whether the last cases still say so.
    """

    cases: int
    untouched: int
    within: int
    below: int
    above: int
    late: int
    late_below: int
    chance: float
    alarm_case: int | None
    told: bool


def coverage(foretold: Sequence[Foretold]) -> Coverage:
    """Of the cases of one organ and version, oldest first."""
    below = [one.dsc < one.low for one in foretold]
    above = [one.dsc > one.high for one in foretold]
    chances = [
        1.0 if k < FEWEST else at_least(sum(below[max(0, k - OF_LATE) : k]), min(k, OF_LATE), BELOW)
        for k in range(1, len(foretold) + 1)
    ]
    first = next((k for k, chance in enumerate(chances) if chance < RARE), None)
    return Coverage(
        cases=len(foretold),
        untouched=sum(one.untouched for one in foretold),
        within=len(foretold) - sum(below) - sum(above),
        below=sum(below),
        above=sum(above),
        late=min(len(foretold), OF_LATE),
        late_below=sum(below[-OF_LATE:]),
        chance=chances[-1] if chances else 1.0,
        alarm_case=None if first is None else foretold[first].case,
        told=bool(chances) and chances[-1] < RARE,
    )


def at_least(count: int, of: int, share: float) -> float:
    """The chance of `count` or more of so many, each so with `share` (binomial)."""
    return min(1.0, sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count, of + 1)))
