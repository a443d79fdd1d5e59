"""A control chart for single values: each case in its turn, judged by the limits in force then. Pure.

A run on one side makes no limits, whether or not it alarms: it may be the beginning of a drift. Limits belong to a
version. Until a version has limits of its own its cases are judged by those that were in force
before, so that a version that contours otherwise shows at once. What was said of a case does not change when cases come
after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rtseg_daemon.upkeep.drift.limits import RUN, STAGES, Limits, limits_of
from rtseg_daemon.upkeep.drift.measures import Measure
from rtseg_daemon.upkeep.drift.rules import SIDE, confirmed, marks

QUIET = 9
"""So many cases without a confirmed mark end an alarm's stretch. Then the chart can alarm again."""


@dataclass(frozen=True)
class Point:
    """One case in a chart.

    Args:
        at: seconds since 1970.
        case: the job's number.
        version: of the bundle.
        value: in the measure's unit.
        era: how often a person had limits made anew before it.
    """

    at: float
    case: int
    version: str
    value: float
    era: int = 0


@dataclass(frozen=True)
class Judged:
    """A case and what the chart says of it.

    Args:
        limits: in force for it, None while there are none.
        carried: whether they are of the version before.
        marks: numbers of Nelson's rules that it breaks.
        range_high: whether it lies farther from the case before than the moving range allows.
        alarm: 1 or -1 where a person is told, to which side, else 0.
        apart: whether it belongs to a stretch that alarmed, and so makes no limits.
        drifting: whether the chart has alarmed and not calmed down since.
    """

    point: Point
    limits: Limits | None
    carried: bool
    marks: tuple[int, ...] = ()
    range_high: bool = False
    alarm: int = 0
    apart: bool = False
    drifting: bool = False


@dataclass
class Version:
    """What a chart knows of one version while it goes through the cases: numbers of the cases that make limits."""

    usable: list[int] = field(default_factory=list)
    limits: Limits | None = None


@dataclass
class Walk:
    """A chart on its way through the cases."""

    measure: Measure
    raw: list[float] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    versions: dict[str, Version] = field(default_factory=dict)
    in_force: Limits | None = None
    begun: int = 0
    """The first case of the version that serves, without a break."""
    stretch: int = 0
    """The side to which the chart has alarmed and not calmed down since, or 0."""
    quiet: int = 0

    def step(self, point: Point) -> None:
        """Judge the next case, and make limits where there are now enough cases."""
        before = self.judged[-1].point if self.judged else point
        if (before.version, before.era) != (point.version, point.era):
            self.begun, self.stretch = len(self.judged), 0
        if before.era != point.era:
            self.versions, self.in_force = {}, None
        self.raw.append(self.measure.scale.there(point.value))
        version = self.versions.setdefault(point.version, Version())
        limits = version.limits or self.in_force
        carried = version.limits is None
        self.judged.append(Judged(point, None, False) if limits is None else self.judge(point, limits, carried))
        last = self.judged[-1]
        if not last.apart:
            version.usable.append(len(self.judged) - 1)
            if SIDE in last.marks and not last.carried:
                version.usable = [k for k in version.usable if k <= len(self.judged) - 1 - RUN]
            self.make_limits(version)
        self.in_force = version.limits or self.in_force

    def judge(self, point: Point, limits: Limits, carried: bool) -> Judged:
        """What the chart says of the case, whose value is the last of `raw`."""
        window = self.raw[max(self.begun, len(self.raw) - RUN) :]
        side, count = confirmed(window, limits)
        alarm = side if side != self.stretch else 0
        self.quiet = 0 if side else self.quiet + 1
        self.stretch = side or (0 if self.quiet >= QUIET else self.stretch)
        if alarm and not carried:
            self.set_apart(count - 1)
        jump = len(window) > 1 and abs(window[-1] - window[-2]) > limits.range_high
        drifting = self.stretch != 0
        return Judged(point, limits, carried, marks(window, limits), jump, alarm, drifting and not carried, drifting)

    def set_apart(self, count: int) -> None:
        """Take the last `count` cases out of what limits are made of."""
        first = len(self.judged) - count
        self.judged[first:] = [replace(one, apart=True) for one in self.judged[first:]]
        for version in self.versions.values():
            version.usable = [k for k in version.usable if k < first]

    def make_limits(self, version: Version) -> None:
        """Limits of a version's own cases, at each stage once."""
        count = len(version.usable)
        if count not in STAGES or (version.limits is not None and version.limits.cases >= count):
            return
        if version.limits is None:
            self.stretch = 0
        values = [self.raw[k] for k in version.usable]
        version.limits = limits_of(values, STAGES[count], self.measure.least_sigma)


def chart(points: Sequence[Point], measure: Measure) -> list[Judged]:
    """Every case of `points`, oldest first, judged."""
    walk = Walk(measure)
    for point in points:
        walk.step(point)
    return walk.judged
