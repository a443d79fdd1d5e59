"""The monthly report: one HTML file that holds all it shows, for the physicist's folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.views import alarm_shape
from rtseg_daemon.upkeep.drift.board import Chart, charts_of
from rtseg_daemon.upkeep.drift.months import Month, months_of
from rtseg_daemon.upkeep.drift.shape import coverage_shapes, limits_shape, marked, state_of
from rtseg_daemon.upkeep.drift.streams import Wanted, read_streams, switches
from rtseg_daemon.upkeep.quality import figures_shape
from rtseg_daemon.web.pages.control import Control, control
from rtseg_daemon.web.pages.render import environment

KINDS = ("drift", "coverage")
MOST_CHARTS = 120
"""So many pictures a report holds at most. Those that alarmed or marked most come first."""


@dataclass(frozen=True)
class Period:
    """A calendar month, local time: its name YYYY-MM and its ends in seconds since 1970."""

    name: str
    since: float
    until: float


def month_called(name: str) -> Period:
    """The month YYYY-MM. Raises ValueError with what was expected."""
    try:
        first = datetime.strptime(name, "%Y-%m").astimezone()
    except ValueError:
        raise ValueError(f"{name!r} is no month; write it as YYYY-MM, such as 2026-11") from None
    after = datetime(first.year + first.month // 12, first.month % 12 + 1, 1).astimezone()
    return Period(name, first.timestamp(), after.timestamp())


@dataclass(frozen=True)
class Reported:
    """One chart in the report."""

    chart: Chart
    month: Month
    state: str
    told: tuple[int, ...]
    """Jobs at which it alarmed in the month."""
    marked: int
    limits: dict[str, Any] | None
    picture: Control


def report_html(session: Session, period: Period, versions: Mapping[str, str], made_at: float) -> str:
    """The report as one HTML document without a link to anything outside. It names jobs and no patient."""
    streams = read_streams(session, versions, Wanted(until=period.until))
    served = switches(session)
    charts = [
        reported(chart, month, period, control(chart, [one for one in served if one.at < period.until]))
        for chart in charts_of(streams)
        for month in months_of(chart)
        if month.month == period.name
    ]
    together = [one for one in charts if not one.chart.stream.scanner]
    shown = [one for one in charts if one.told or one.state == "drift" or not one.chart.stream.scanner]
    shown.sort(key=lambda one: (-len(one.told), one.state != "drift", -one.marked))
    return (
        environment()
        .get_template("report.html")
        .render(
            period=period,
            made_at=made_at,
            figures=figures_shape(session, period.since, period.until, versions),
            noteworthy=[one for one in charts if one.told or one.month.beyond or one.state == "drift"],
            count=len(charts),
            organs=by_organ(together),
            shown=shown[:MOST_CHARTS],
            left_out=max(0, len(shown) - MOST_CHARTS),
            coverage=coverage_shapes(streams),
            switches=[one for one in served if period.since <= one.at < period.until],
            alarms=alarms_of(session, period),
        )
    )


def reported(chart: Chart, month: Month, period: Period, picture: Control) -> Reported:
    told = tuple(one.case for one in chart.alarms if period.since <= one.at < period.until)
    count = sum(1 for point in marked(chart) if period.since <= point.at < period.until)
    return Reported(chart, month, state_of(chart), told, count, limits_shape(chart), picture)


def by_organ(charts: list[Reported]) -> list[tuple[tuple[str, str, str], dict[str, Reported]]]:
    """(bundle, route, organ) -> measure -> chart, for the table of monthly means."""
    found: dict[tuple[str, str, str], dict[str, Reported]] = {}
    for one in charts:
        stream = one.chart.stream
        found.setdefault((stream.bundle, stream.route, stream.organ), {})[one.chart.measure.key] = one
    return list(found.items())


def alarms_of(session: Session, period: Period) -> list[dict[str, Any]]:
    """What was told in the month, and who has seen it."""
    query = select(Alarm).where(Alarm.kind.in_(KINDS), Alarm.at >= period.since, Alarm.at < period.until)
    return [alarm_shape(alarm) for alarm in session.scalars(query.order_by(Alarm.id))]
