"""Quality over time, from the ledger alone: flags, volumes and uncertainty per organ, throughput, time to delivery.

Figures of one bundle are kept apart by its digest, so that a new version shows. Times are local days and the Mondays
of weeks, in which a department thinks.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.values import JOINER
from rtseg_daemon.ledger.schema import Delivery, Instance, Job
from rtseg_daemon.ledger.states import ARRIVED, JobState
from rtseg_daemon.ledger.views import moment
from rtseg_daemon.upkeep.drift.board import charts_of
from rtseg_daemon.upkeep.drift.shape import chart_shape, coverage_shapes, switch_shape
from rtseg_daemon.upkeep.drift.streams import Wanted, read_streams, switches

JsonObject = dict[str, Any]
MEASURES = ("volume_ml", "vvc", "predicted_dice")
FLAGS = ("OK", "REVIEW", "REJECT")
BATCH = 500
Bundle = tuple[str, str | None]
Values = dict[str, list[float]]


def quality_shape(
    session: Session, since: float, until: float, versions: Mapping[str, str] | None = None
) -> JsonObject:
    """What `quality --json` shows: figures of the jobs made from `since` on, up to `until`, and the charts.

    Times are seconds since 1970. `versions` gives the version for a bundle's digest, where it is known.
    """
    known = versions or {}
    return figures_shape(session, since, until, known) | drift_shape(session, since, until, known)


def figures_shape(session: Session, since: float, until: float, known: Mapping[str, str]) -> JsonObject:
    """The figures alone. Jobs that were run again for a look alone (`no_send`) count nowhere."""
    organs: dict[Bundle, dict[str, OrganFigures]] = defaultdict(dict)
    cases: dict[Bundle, int] = defaultdict(int)
    for bundle, digest, at, rois in results(session, since, until):
        cases[bundle, digest] += 1
        week, named = week_of(at), organs[bundle, digest]
        for roi in rois:
            name = str(roi.get("name"))
            if name not in named:
                named[name] = OrganFigures()
            named[name].add(week, roi)
    return {
        "since": moment(since),
        "until": moment(until),
        "bundles": [
            {
                "name": name,
                "digest": digest,
                "version": version_of(digest, known),
                "cases": cases[name, digest],
                "organs": [figures.shape(organ) for organ, figures in organs[name, digest].items()],
            }
            for name, digest in cases
        ],
        "throughput": throughput(session, since, until),
        "delivery_seconds": delivery_seconds(session, since, until),
    }


def drift_shape(session: Session, since: float, until: float, versions: Mapping[str, str]) -> JsonObject:
    """Charts with a case in the period, the coverage of predicted intervals, and which version served from when on."""
    streams = read_streams(session, versions, Wanted(until=until))
    charts = [chart for chart in charts_of(streams) if chart.last_at >= since]
    return {
        "charts": [chart_shape(chart, since, until) for chart in charts],
        "coverage": coverage_shapes(streams),
        "switches": [switch_shape(one) for one in switches(session) if since <= one.at < until],
    }


def version_of(digest: str | None, known: Mapping[str, str]) -> str | None:
    """The version behind a digest, or those behind the digests of several bundles. None where one is not known."""
    found = [known.get(one) for one in (digest or "").split(JOINER)]
    return JOINER.join(str(one) for one in found) if all(found) else None


def results(session: Session, since: float, until: float) -> Iterable[tuple[str, str | None, float, list[JsonObject]]]:
    """(bundle, digest, when it was made, organs) of every job that has a result, oldest first, in bounded pieces."""
    last = 0
    while True:
        query = (
            select(Job.id, Job.bundle, Job.bundle_digest, Job.created_at, Job.rois)
            .where(Job.id > last, Job.created_at >= since, Job.created_at < until, ~Job.no_send)
            .where(Job.bundle_digest.is_not(None))
            .order_by(Job.id)
            .limit(BATCH)
        )
        rows = session.execute(query).all()
        for _, bundle, digest, at, rois in rows:
            yield bundle, digest, at, rois
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


class OrganFigures:
    """One organ of one bundle, added up case by case."""

    def __init__(self) -> None:
        self.flags = dict.fromkeys(FLAGS, 0)
        self.weeks: dict[str, dict[str, list[float]]] = {}
        self.flags_of_weeks: dict[str, dict[str, int]] = {}

    def add(self, week: str, roi: Mapping[str, Any]) -> None:
        """Count one case's organ of the week of this Monday."""
        if week not in self.weeks:
            self.weeks[week] = {measure: [] for measure in MEASURES}
            self.flags_of_weeks[week] = dict.fromkeys(FLAGS, 0)
        values, counted = self.weeks[week], self.flags_of_weeks[week]
        if (flag := str(roi.get("flag"))) in self.flags:
            self.flags[flag] += 1
            counted[flag] += 1
        for measure in MEASURES:
            value = roi.get(measure)
            if isinstance(value, int | float) and value == value:
                values[measure].append(float(value))

    def shape(self, name: str) -> JsonObject:
        """The organ as the answer has it: over all, and week by week."""
        together = {measure: [v for week in self.weeks.values() for v in week[measure]] for measure in MEASURES}
        return {
            "name": name,
            "cases": sum(self.flags.values()),
            "flags": self.flags,
            **{measure: spread(values) for measure, values in together.items()},
            "weeks": [
                {
                    "week": week,
                    "flags": self.flags_of_weeks[week],
                    **{measure: spread(values[measure]) for measure in MEASURES},
                }
                for week, values in sorted(self.weeks.items())
            ],
        }


def spread(values: Sequence[float]) -> JsonObject | None:
    """How many, the median, and the 10th and 90th percentile. None without values."""
    if not values:
        return None
    return {
        "count": len(values),
        "median": round(statistics.median(values), 4),
        "p10": round(percentile(values, 0.10), 4),
        "p90": round(percentile(values, 0.90), 4),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie, between two neighbours in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def day_of(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().date().isoformat()


def week_of(at: float) -> str:
    """The Monday of its week."""
    day = datetime.fromtimestamp(at).astimezone().date()
    return (day - timedelta(days=day.weekday())).isoformat()


def throughput(session: Session, since: float, until: float) -> list[JsonObject]:
    """Per day: jobs made, and how those of the day stand now. Days without any are in it too."""
    rows = session.execute(
        select(Job.created_at, Job.state).where(Job.created_at >= since, Job.created_at < until, ~Job.no_send)
    ).all()
    counts = {"jobs": 0, "delivered": 0, "held": 0, "failed": 0}
    days: dict[str, JsonObject] = {day: {"day": day} | counts for day in every_day(rows)}
    for at, state in rows:
        counted = days[day_of(at)]
        counted["jobs"] += 1
        key = {JobState.DELIVERED: "delivered", JobState.HELD: "held", JobState.FAILED: "failed"}.get(state)
        if key:
            counted[key] += 1
    return list(days.values())


def every_day(rows: Sequence[Any]) -> Iterable[str]:
    """Every day from the first to the last."""
    if not rows:
        return
    first = datetime.fromtimestamp(min(row[0] for row in rows)).date()
    last = datetime.fromtimestamp(max(row[0] for row in rows)).date()
    for number in range((last - first).days + 1):
        yield (first + timedelta(days=number)).isoformat()


def delivery_seconds(session: Session, since: float, until: float) -> JsonObject:
    """From a job's last image to the last of its destinations, for first runs that nobody had to release."""
    query = (
        select(Instance.received_at, func.max(Delivery.sent_at))
        .select_from(Job)
        .join(Delivery, Delivery.job_id == Job.id)
        .join(Instance, Instance.id == Job.last_instance_id)
        .where(Job.created_at >= since, Job.created_at < until, Job.state == JobState.DELIVERED)
        .where(Job.run == 1, ~Job.no_send, Job.released_by.is_(None), Delivery.state.in_(ARRIVED))
        .group_by(Job.id, Instance.received_at)
    )
    rows = [(received, sent - received) for received, sent in session.execute(query) if sent and sent >= received]
    return timed([seconds for _, seconds in rows]) | {
        "weeks": [{"week": week} | timed(values) for week, values in grouped(rows, week_of)]
    }


def timed(seconds: Sequence[float]) -> JsonObject:
    """How many, median and 95th percentile."""
    return {
        "count": len(seconds),
        "median": round(statistics.median(seconds), 1) if seconds else None,
        "p95": round(percentile(seconds, 0.95), 1) if seconds else None,
    }


def grouped(rows: Iterable[tuple[float, float]], by: Callable[[float], str]) -> list[tuple[str, list[float]]]:
    found: dict[str, list[float]] = defaultdict(list)
    for at, value in rows:
        found[by(at)].append(value)
    return sorted(found.items())
