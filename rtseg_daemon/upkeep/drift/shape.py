"""Charts and coverage as `quality --json`, its REST twin, CSV and pages show them."""

from collections.abc import Iterator
from typing import Any

from rtseg_daemon.ledger.views import moment
from rtseg_daemon.upkeep.drift.board import SIDES, Chart
from rtseg_daemon.upkeep.drift.chart import Judged, Point
from rtseg_daemon.upkeep.drift.coverage import Foretold, coverage
from rtseg_daemon.upkeep.drift.months import months_of
from rtseg_daemon.upkeep.drift.shares import Ten
from rtseg_daemon.upkeep.drift.streams import Streams, Switch

JsonObject = dict[str, Any]
DIGITS = 4
COLUMNS = (
    "bundle", "version", "route", "organ", "scanner", "measure", "unit", "at", "job", "value", "centre", "low", "high",
    "limits", "rules", "alarm",
)  # fmt: skip


def chart_shape(chart: Chart, since: float, until: float) -> JsonObject:
    """One chart: how it stands, its limits, its months, and what it marked and alarmed in the period."""
    points, stream, measure = chart.points, chart.stream, chart.measure
    within = [point for point in points if since <= point.at < until]
    return {
        "bundle": stream.bundle,
        "version": points[-1].version,
        "route": stream.route,
        "organ": stream.organ,
        "scanner": stream.scanner or None,
        "measure": measure.key,
        "label": measure.label,
        "unit": measure.unit or None,
        "cases": len(points),
        "cases_in_period": len(within),
        "last_at": moment(chart.last_at),
        "state": state_of(chart),
        "limits": limits_shape(chart),
        "marked": sum(1 for one in marked(chart) if since <= one.at < until),
        "alarms": [
            {"at": moment(one.at), "job": one.case, "version": one.version, "side": one.side}
            for one in chart.alarms
            if since <= one.at < until
        ],
        "months": [
            {"month": one.month, "cases": one.cases, "mean": rounded(one.mean), "low": rounded(one.low),
             "high": rounded(one.high), "beyond": one.beyond}
            for one in months_of(chart)
        ],
    }  # fmt: skip


def state_of(chart: Chart) -> str:
    """`drift`, `steady`, or `no limits yet`."""
    if chart.drifting:
        return "drift"
    last = (chart.judged or chart.tens)[-1]
    known = last.limits if isinstance(last, Judged) else last.known
    return "no limits yet" if known is None else "steady"


def limits_shape(chart: Chart) -> JsonObject | None:
    """The limits in force for the last case, in the measure's unit."""
    if chart.judged:
        last, back = chart.judged[-1], chart.measure.scale.back
        if (limits := last.limits) is None:
            return None
        told = {"centre": back(limits.centre), "low": back(limits.low), "high": back(limits.high)}
        stage, cases, carried = limits.stage, limits.cases, last.carried
    else:
        ten = chart.tens[-1]
        if (known := ten.known) is None:
            return None
        low, high = known.limits(len(ten.points))
        told = {"centre": known.share, "low": low, "high": high}
        stage, cases, carried = known.stage, known.cases, ten.carried
    figures = {key: rounded(value) for key, value in told.items()}
    return {"stage": stage, "cases": cases, "of_version_before": carried} | figures


def marked(chart: Chart) -> list[Point]:
    """The cases that break one of Nelson's rules, or the last ones of tens beyond their limits."""
    return [one.point for one in chart.judged if one.marks] + [ten.points[-1] for ten in chart.tens if ten.beyond]


def coverage_shapes(streams: Streams) -> list[JsonObject]:
    """Of every organ, version and route that something came back of: how often the predicted interval held."""
    return [
        {"bundle": stream.bundle, "version": version, "route": stream.route, "organ": stream.organ}
        | coverage_shape(foretold)
        for (stream, version), foretold in sorted(streams.foretold.items())
    ]


def coverage_shape(foretold: list[Foretold]) -> JsonObject:
    found = coverage(foretold)
    return {
        "cases": found.cases,
        "left_as_they_were": found.untouched,
        "within": rounded(found.within / found.cases),
        "below": rounded(found.below / found.cases),
        "above": rounded(found.above / found.cases),
        "last_cases": found.late,
        "last_below": found.late_below,
        "state": "too low too often" if found.told else "holds",
    }


def switch_shape(switch: Switch) -> JsonObject:
    return {"at": moment(switch.at), "bundle": switch.bundle, "what": switch.what, "version": switch.version}


def rows_of(chart: Chart, since: float, until: float) -> Iterator[list[Any]]:
    """The cases of the period as rows of COLUMNS. Of what is so or not so every case is a row."""
    for one in chart.judged:
        if since <= one.point.at < until:
            yield value_row(chart, one)
    for ten in chart.tens:
        for point in ten.points:
            if since <= point.at < until:
                yield share_row(chart, ten, point)


def value_row(chart: Chart, one: Judged) -> list[Any]:
    limits, back = one.limits, chart.measure.scale.back
    told = [rounded(back(value)) for value in (limits.centre, limits.low, limits.high)] if limits else [None] * 3
    stage = (f"{limits.stage}, version before" if one.carried else limits.stage) if limits else None
    rules = " ".join([*map(str, one.marks), *(["range"] if one.range_high else [])])
    return [*named(chart, one.point), *told, stage, rules, SIDES.get(one.alarm, "")]


def share_row(chart: Chart, ten: Ten, point: Point) -> list[Any]:
    known = ten.known
    told = [rounded(known.share), *map(rounded, known.limits(len(ten.points)))] if known else [None] * 3
    stage = (f"{known.stage}, version before" if ten.carried else known.stage) if known else None
    beyond = "1" if ten.beyond and point is ten.points[-1] else ""
    return [
        *named(chart, point),
        *told,
        stage,
        beyond,
        SIDES.get(ten.alarm, "") if point.case == ten.alarm_case else "",
    ]


def named(chart: Chart, point: Point) -> list[Any]:
    stream, measure = chart.stream, chart.measure
    known = [stream.bundle, point.version, stream.route, stream.organ, stream.scanner, measure.key, measure.unit]
    return [*known, moment(point.at), point.case, rounded(point.value)]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
