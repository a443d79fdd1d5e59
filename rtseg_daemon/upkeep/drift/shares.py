"""Charts of what is so or not so of each case, such as a flag: how often, in tens, and how often of late. Pure.

How often it was so among a version's first cases is known only so well. The beta-binomial distribution says how many of
the next cases may then be so. No other approximation is made, and few cases make wide limits by themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from rtseg_daemon.upkeep.drift.chart import Point
from rtseg_daemon.upkeep.drift.limits import STAGES

TEN = 10
"""Cases of one point in the picture."""
OF_LATE = 15
"""So many of the last cases are counted to alarm."""
RARE = 0.00135
"""Chance of a ten beyond one of its limits: that of a value beyond three sigmas."""
SURE = 3e-5
"""Chance of so many of the last cases, from which on a person is told."""


@dataclass(frozen=True)
class Known:
    """How often it was so among the first cases: `so` of `cases`, at the stage that the number of cases gives."""

    so: int
    cases: int
    stage: str

    @property
    def share(self) -> float:
        return (self.so + 0.5) / (self.cases + 1)

    def at_least(self, count: int, of: int) -> float:
        """The chance that `count` or more `of` the next cases are so, if nothing has changed."""
        return min(1.0, sum(chances(self.so, self.cases, of)[count:]))

    def at_most(self, count: int, of: int) -> float:
        return min(1.0, sum(chances(self.so, self.cases, of)[: count + 1]))

    def limits(self, of: int) -> tuple[float, float]:
        """The least and the greatest share `of` so many cases that are nothing unusual."""
        low = next(k for k in range(of + 1) if self.at_most(k, of) > RARE)
        high = next(k for k in range(of, -1, -1) if self.at_least(k, of) > RARE)
        return low / of, high / of


@lru_cache(maxsize=1024)
def chances(so: int, cases: int, of: int) -> tuple[float, ...]:
    """The chance of 0, 1, ... `of` so many next cases, after `so` of `cases`: beta-binomial, from Jeffreys' prior."""
    a, b = so + 0.5, cases - so + 0.5
    ways = [math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in range(of + 1)]
    return tuple(math.exp(ways[k] + log_beta(k + a, of - k + b) - log_beta(a, b)) for k in range(of + 1))


def log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass(frozen=True)
class Ten:
    """Up to ten cases of one version in a row.

    Args:
        points: the cases, oldest first.
        share: how often it was so.
        known: what was known before, None while nothing was.
        carried: whether that was of the version before.
        beyond: 1 or -1 where the share lies beyond its limits.
        alarm: 1 or -1 where a person is told at one of these cases, else 0.
        alarm_case: the number of the job at which, or None.
        drifting: whether the chart has alarmed and not calmed down since.
    """

    points: tuple[Point, ...]
    share: float
    known: Known | None
    carried: bool
    beyond: int = 0
    alarm: int = 0
    alarm_case: int | None = None
    drifting: bool = False


@dataclass
class Version:
    """What is known of one version so far."""

    usable: list[bool] = field(default_factory=list)
    known: Known | None = None


@dataclass
class Count:
    """A chart on its way through the cases."""

    versions: dict[str, Version] = field(default_factory=dict)
    in_force: Known | None = None
    told: int = 0
    calm: int = 0

    def alarm(self, late: Sequence[Point], known: Known) -> int:
        """1 or -1 where the cases of late alarm, once in a stretch."""
        so, of = sum(point.value > 0.5 for point in late), len(late)
        side = 1 if known.at_least(so, of) < SURE else -1 if known.at_most(so, of) < SURE else 0
        self.calm = 0 if side else self.calm + 1
        alarm = side if side != self.told else 0
        self.told = side or (0 if self.calm >= OF_LATE else self.told)
        return alarm

    def learn(self, version: Version, point: Point) -> None:
        """Count the case among those that make limits, unless it is of a stretch that alarmed."""
        if self.told and version.known is not None:
            return
        version.usable.append(point.value > 0.5)
        if stage := STAGES.get(len(version.usable)):
            if version.known is None:
                self.told = 0
            version.known = Known(sum(version.usable), len(version.usable), stage)


def share_chart(points: Sequence[Point]) -> list[Ten]:
    """The cases, oldest first, in tens of one version each. The value of a point is 1 or 0."""
    count, tens, open_ten = Count(), list[Ten](), list[Point]()
    late: list[Point] = []
    said: tuple[int, int | None] = (0, None)
    judged_by: tuple[Known | None, bool] = (None, False)
    for point in points:
        if late and late[-1].era != point.era:
            count.versions, count.in_force = {}, None
        if late and (late[-1].version, late[-1].era) != (point.version, point.era):
            tens += ten_of(open_ten, judged_by, said, count.told != 0)
            open_ten, late, said, count.told = [], [], (0, None), 0
        version = count.versions.setdefault(point.version, Version())
        known = version.known or count.in_force
        if not open_ten:
            judged_by = known, version.known is None and known is not None
        late = [*late, point][-OF_LATE:]
        open_ten.append(point)
        if known is not None and (side := count.alarm(late, known)):
            said = side, point.case
        count.learn(version, point)
        count.in_force = version.known or count.in_force
        if len(open_ten) == TEN:
            tens += ten_of(open_ten, judged_by, said, count.told != 0)
            open_ten, said = [], (0, None)
    return tens + ten_of(open_ten, judged_by, said, count.told != 0)


def ten_of(
    points: Sequence[Point], judged_by: tuple[Known | None, bool], said: tuple[int, int | None], drifting: bool
) -> list[Ten]:
    """One of these, none without points."""
    if not points:
        return []
    known, carried = judged_by
    share = sum(point.value > 0.5 for point in points) / len(points)
    low, high = known.limits(len(points)) if known else (0.0, 1.0)
    beyond = 1 if share > high else -1 if share < low else 0
    return [Ten(tuple(points), share, known, carried, beyond, *said, drifting)]
