"""Who must know of a drift: charts and coverage are looked at, and what they alarm becomes one alarm for each organ."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Alarm, Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.upkeep.drift.board import Chart, ChartAlarm, charts_of
from rtseg_daemon.upkeep.drift.coverage import BELOW, coverage
from rtseg_daemon.upkeep.drift.streams import Streams, read_streams

RECENT_SECONDS = 30 * 86400.0
"""What a chart alarmed longer ago is history: nobody is told when charts are looked at for the first time."""
MOST_TOLD = 4
"""So many charts are named in one alarm."""

WITH_RESULT = (JobState.SEGMENTED, JobState.DELIVERING, JobState.DELIVERED, JobState.HELD, JobState.FAILED)
"""States of a job that may just have got its result. The newest of each is one step in an index."""

Stamp = tuple[object, ...]
Told = Sequence[tuple[ChartAlarm, str]]
"""What charts alarm, each with a line."""


@dataclass(frozen=True)
class Subject:
    """What an alarm is about. `kind` is `drift` or `coverage`."""

    kind: str
    bundle: str
    version: str
    route: str
    organ: str

    @property
    def prefix(self) -> str:
        """With what the keys of its alarms begin."""
        return f"{self.kind}:{self.bundle}:{self.version}:{self.route}:{self.organ}:"

    @property
    def sentence(self) -> str:
        what = {"drift": "has drifted", "coverage": "is worse than predicted too often"}[self.kind]
        return f"{self.organ} of {self.bundle} {self.version} (route {self.route}) {what}"


def stamp(session: Session) -> Stamp:
    """Changes when a result or something that came back is new."""
    jobs = [session.scalar(select(func.max(Job.updated_at)).where(Job.state == state)) for state in WITH_RESULT]
    sets = session.execute(select(func.max(ReturnedSet.id), func.max(ReturnedSet.updated_at))).one()
    return (*jobs, *sets)


def raise_drift(engine: Engine, versions: Mapping[str, str], now: float) -> int:
    """Raise what charts and coverage alarm. Returns how many alarms are new.

    An organ has one alarm, however many of its charts speak. Until a person has acknowledged it there is no other one,
    and afterwards only what comes later is told.
    """
    with reading(engine) as session:
        streams = read_streams(session, versions)
    found: dict[Subject, Told] = {**drift_messages(streams, now), **coverage_messages(streams, now)}
    new = 0
    for subject, told in found.items():
        with writing(engine) as session:
            new += tell(session, subject, told, now)
    return new


def tell(session: Session, subject: Subject, told: Told, now: float) -> bool:
    """Raise one alarm of what is told, unless one is open or whoever saw the last one knew all of it."""
    mine = Alarm.key.startswith(subject.prefix, autoescape=True)
    last = session.scalars(select(Alarm).where(mine).order_by(Alarm.id.desc()).limit(1)).first()
    if last is not None and last.acknowledged_at is None:
        return False
    later = [(alarm, words) for alarm, words in told if last is None or alarm.at > last.at]
    if not later:
        return False
    first = min((alarm for alarm, _ in later), key=lambda alarm: (alarm.at, alarm.case))
    lines = [words for _, words in later]
    more = f"; and {len(lines) - MOST_TOLD} more charts" if len(lines) > MOST_TOLD else ""
    message = (
        f"{subject.sentence}, told at job {first.case}: {'; '.join(lines[:MOST_TOLD])}{more}. See Quality on the "
        "dashboard, look at the cases, then acknowledge this alarm"
    )
    return raise_alarm(session, subject.kind, f"{subject.prefix}{first.case}", message, at=now)


def drift_messages(streams: Streams, now: float) -> dict[Subject, Told]:
    """For each organ the alarms of its charts of late, with a line for each."""
    found: dict[Subject, list[tuple[ChartAlarm, str]]] = defaultdict(list)
    for chart in charts_of(streams):
        for alarm in chart.alarms:
            if alarm.at >= now - RECENT_SECONDS:
                stream = chart.stream
                subject = Subject("drift", stream.bundle, alarm.version, stream.route, stream.organ)
                found[subject].append((alarm, line_of(chart, alarm)))
    return dict(found)


def line_of(chart: Chart, alarm: ChartAlarm) -> str:
    """What one chart says: the measure, to which side, and of which scanner."""
    scanner = f" on {chart.stream.scanner}" if chart.stream.scanner else ""
    return f"{chart.measure.label} {alarm.side} its limits{scanner}"


def coverage_messages(streams: Streams, now: float) -> dict[Subject, Told]:
    """For each organ whose Dice lies below the predicted interval too often."""
    found: dict[Subject, Told] = {}
    for (stream, version), foretold in streams.foretold.items():
        covered = coverage(foretold)
        at = next((one.at for one in foretold if one.case == covered.alarm_case), None)
        if at is None or at < now - RECENT_SECONDS or covered.alarm_case is None:
            continue
        words = (
            f"Dice of {covered.late_below} of the last {covered.late} cases lay below the predicted interval, where "
            f"{100 * BELOW:.0f} % may"
        )
        alarm = ChartAlarm(at, covered.alarm_case, version, "below")
        found[Subject("coverage", stream.bundle, version, stream.route, stream.organ)] = [(alarm, words)]
    return found
