"""Geometry of a control chart: cases, the limits in force for each, and where another version began. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from rtseg_daemon.upkeep.drift.board import Chart
from rtseg_daemon.upkeep.drift.chart import Judged, Point
from rtseg_daemon.upkeep.drift.shares import Ten
from rtseg_daemon.upkeep.drift.streams import Switch
from rtseg_daemon.web.pages.charts import Frame, Tick, nice_marks

FRAME = Frame(width=420.0, height=190.0, top=14.0, bottom=60.0)
STRIP = (138.0, 172.0)
"""Top and bottom of the strip of moving ranges below the cases."""
MOST = 240
"""So many of the last points are drawn. More are no longer told apart."""
Limits = tuple[float, float, float]
Axis = Callable[[float], float]


@dataclass(frozen=True)
class Dot:
    """A point: where it is, what it says, the job behind it, and `steady`, `marked` or `alarm`."""

    x: float
    y: float
    says: str
    job: int
    kind: str


@dataclass(frozen=True)
class Step:
    """Limits that hold from `x1` to `x2`: the places of centre, lower and upper limit. `stage` names them in CSS."""

    x1: float
    x2: float
    centre: float
    low: float
    high: float
    stage: str


@dataclass(frozen=True)
class Range:
    """How far a case lies from the one before it, as an upright line from the strip's bottom up to `y`."""

    x: float
    y: float
    beyond: bool


@dataclass(frozen=True)
class Control:
    """A chart in the units of its own picture.

    Args:
        line: SVG points through the dots.
        dots: one for each case, or for each ten.
        steps: where which limits hold.
        ranges: the moving ranges, on the scale where limits are computed. None of what is so or not so.
        range_limit: the place of their limit for the last case, None where there is none.
        versions: where another version begins, with its name.
        switches: where a version was activated or rolled back, with what was done.
    """

    frame: Frame
    line: str
    dots: tuple[Dot, ...]
    steps: tuple[Step, ...]
    ranges: tuple[Range, ...]
    range_limit: float | None
    versions: tuple[Tick, ...]
    switches: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Place:
    """One point before it has a place."""

    at: float
    value: float
    limits: Limits | None
    stage: str
    name: str
    kind: str
    says: str
    job: int
    raw: float | None = None
    range_high: float | None = None


def control(chart: Chart, switches: Sequence[Switch] = ()) -> Control:
    """The picture of a chart that has a case. Where nothing limits yet there are dots alone."""
    places = (values_of(chart) if chart.judged else shares_of(chart))[-MOST:]
    bottom, top, marks = scale(places)
    last = max(1, len(places) - 1)

    def x(index: float) -> float:
        return FRAME.x(index / last if len(places) > 1 else 0.5)

    def y(value: float) -> float:
        return FRAME.y(min(1.0, max(0.0, (value - bottom) / (top - bottom))))

    dots = tuple(Dot(x(k), y(one.value), one.says, one.job, one.kind) for k, one in enumerate(places))
    begun = [k for k, (before, after) in enumerate(pairwise(places), 1) if before.name != after.name]
    switched = [one for one in switches if one.bundle in chart.stream.bundle and one.at >= places[0].at]
    return Control(
        FRAME,
        " ".join(f"{dot.x},{dot.y}" for dot in dots),
        dots,
        tuple(steps_of(places, x, y)),
        *ranges_of(places, x),
        tuple(Tick(round(x(k - 0.5), 1), places[k].name) for k in begun),
        tuple(Tick(round(x(sum(p.at < one.at for p in places) - 0.5), 1), f"{one.what} {one.version}, {day(one.at)}")
              for one in switched),
        tuple(Tick(dots[k].x, day(places[k].at)) for k in sorted({0, len(places) - 1})),
        tuple(Tick(FRAME.y((mark - bottom) / (top - bottom)), f"{mark:g}") for mark in marks),
    )  # fmt: skip


def scale(places: Sequence[Place]) -> tuple[float, float, list[float]]:
    """Bottom and top of the axis, and its marks: all values, and all limits."""
    values = [one.value for one in places]
    limits = [edge for one in places if one.limits for edge in one.limits]
    marks = nice_marks(min(values + limits), max(values + limits))
    return min(*values, *limits, marks[0]), max(*values, *limits, marks[-1]), marks


def steps_of(places: Sequence[Place], x: Axis, y: Axis) -> list[Step]:
    """One step for each stretch of cases with the same limits."""
    found: list[Step] = []
    first = 0
    for k in range(1, len(places) + 1):
        if k < len(places) and (places[k].limits, places[k].stage) == (places[first].limits, places[first].stage):
            continue
        if limits := places[first].limits:
            centre, low, high = limits
            start, stop = max(0.0, first - 0.5), min(len(places) - 1.0, k - 0.5)
            found.append(Step(round(x(start), 1), round(x(stop), 1), y(centre), y(low), y(high), places[first].stage))
        first = k
    return found


def ranges_of(places: Sequence[Place], x: Axis) -> tuple[tuple[Range, ...], float | None]:
    """The moving ranges of the cases that follow one of their own version, and the limit in force for the last one."""
    found = [
        (k, abs(after.raw - before.raw), after.range_high)
        for k, (before, after) in enumerate(pairwise(places), 1)
        if before.raw is not None and after.raw is not None and before.name == after.name
    ]
    if not found:
        return (), None
    limit, (top, bottom) = found[-1][2], STRIP
    most = max([limit or 0.0, *(length for _, length, _ in found)]) or 1.0

    def y(length: float) -> float:
        return round(bottom - length / most * (bottom - top), 1)

    lines = tuple(Range(x(k), y(length), high is not None and length > high) for k, length, high in found)
    return lines, None if limit is None else y(limit)


def values_of(chart: Chart) -> list[Place]:
    return [place_of_value(chart, one) for one in chart.judged]


def place_of_value(chart: Chart, one: Judged) -> Place:
    measure, point, limits = chart.measure, one.point, one.limits
    back = measure.scale.back
    known = (back(limits.centre), back(limits.low), back(limits.high)) if limits else None
    rules = f", rule {' and '.join(map(str, one.marks))}" if one.marks else ""
    jump = ", far from the case before" if one.range_high else ""
    told = ", alarm" if one.alarm else ""
    value = f"{point.value:.{measure.digits}f}{' ' + measure.unit if measure.unit else ''}"
    says = f"job {point.case}, {day(point.at)}: {value}{rules}{jump}{told}"
    kind = "alarm" if one.alarm else "marked" if one.marks or one.range_high else "steady"
    stage = stage_of(limits.stage if limits else None, one.carried)
    raw, high = measure.scale.there(point.value), limits.range_high if limits else None
    return Place(point.at, point.value, known, stage, name_of(point), kind, says, point.case, raw, high)


def shares_of(chart: Chart) -> list[Place]:
    return [place_of_ten(ten) for ten in chart.tens]


def place_of_ten(ten: Ten) -> Place:
    last, known = ten.points[-1], ten.known
    limits = (known.share, *known.limits(len(ten.points))) if known else None
    told = ", alarm" if ten.alarm else ", beyond its limits" if ten.beyond else ""
    says = f"up to job {last.case}, {day(last.at)}: {ten.share:.0%} of {len(ten.points)}{told}"
    kind = "alarm" if ten.alarm else "marked" if ten.beyond else "steady"
    stage = stage_of(known.stage if known else None, ten.carried)
    return Place(last.at, ten.share, limits, stage, name_of(last), kind, says, last.case)


def stage_of(stage: str | None, carried: bool) -> str:
    """`before` for limits of the version before, `provisional`, or `set`. Empty where there are none."""
    return "" if stage is None else "before" if carried else stage.split()[0]


def name_of(point: Point) -> str:
    """The version, and whether its limits were made anew by a person."""
    return f"{point.version} anew" if point.era else point.version


def day(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().date().isoformat()
