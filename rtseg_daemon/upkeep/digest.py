"""The daily digest: what came and went in a day, and what waits for a person. No patient is named."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.file import Config
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm, was_raised
from rtseg_daemon.ledger.schema import Alarm, Destination, Job, Series
from rtseg_daemon.ledger.seen_alarms import DIGEST
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.lateness import late_series

DAY_SECONDS = 86400.0
MOST_NUMBERS = 20


@dataclass(frozen=True)
class Day:
    """What the digest tells. Numbers are of the ledger. The day ends when it is written."""

    received: int
    delivered: int
    held: Sequence[int]
    failed: Sequence[int]
    unrouted: Sequence[int]
    late: Sequence[int]
    unseen_alarms: int
    down: Sequence[str]
    free_gb: float
    enough_gb: float


def raise_due(engine: Engine, config: Config, layout: Layout, now: float) -> bool:
    """Raise the digest of today as an alarm if its time has come and it was not. False else.

    A daemon that was off at that time tells it when it is back on the same day.
    """
    at = config.alarms.digest
    local = datetime.fromtimestamp(now).astimezone()
    if at is None or not is_due(at, local):
        return False
    key = f"digest:{local:%Y-%m-%d}"
    with reading(engine) as session:
        if was_raised(session, key):
            return False
        text = "\n".join(lines(day_of(session, config, layout, now), local))
    with writing(engine) as session:
        return raise_alarm(session, DIGEST, key, text, at=now)


def is_due(at: time, local: datetime) -> bool:
    """Whether the time of day has come, by the clock on the wall."""
    return (local.hour, local.minute) >= (at.hour, at.minute)


def day_of(session: Session, config: Config, layout: Layout, now: float) -> Day:
    """The facts, from the ledger and the storage."""
    since = now - DAY_SECONDS
    delivered = select(func.count()).where(Job.state == JobState.DELIVERED, Job.updated_at >= since)
    unseen = select(func.count()).where(Alarm.acknowledged_at.is_(None), Alarm.kind != DIGEST, Alarm.at >= since)
    down = select(Destination.name).where(Destination.up.is_(False), Destination.name.in_(config.destination_names))
    unrouted = select(Series.id).where(Series.state == SeriesState.UNROUTED, Series.updated_at >= since)
    return Day(
        session.scalar(select(func.count()).where(Series.last_received_at >= since)) or 0,
        session.scalar(delivered) or 0,
        jobs_in(session, JobState.HELD),
        jobs_in(session, JobState.FAILED),
        session.scalars(unrouted.order_by(Series.id)).all(),
        [series for series, _, _ in late_series(session, now - config.series.late_minutes * 60.0)],
        session.scalar(unseen) or 0,
        session.scalars(down.order_by(Destination.name)).all(),
        layout.free_gb(),
        config.storage.minimum_free_gb,
    )


def jobs_in(session: Session, state: JobState) -> Sequence[int]:
    """Numbers of the jobs in a state, without those of shadows."""
    return session.scalars(select(Job.id).where(Job.state == state, ~Job.shadow).order_by(Job.id)).all()


def lines(day: Day, local: datetime) -> Iterator[str]:
    """The digest as a person reads it: what waits comes first."""
    yield f"rtseg-daemon on {socket.gethostname()}, the 24 hours until {local.isoformat(timespec='minutes')}"
    yield f"HELD jobs, which wait for a person: {numbered(day.held)}"
    yield f"FAILED jobs: {numbered(day.failed)}"
    yield f"Series whose contours are late: {numbered(day.late)}"
    yield f"Series of this day that no route took (UNROUTED): {numbered(day.unrouted)}"
    yield f"Destinations that do not answer: {', '.join(day.down) or 'none'}"
    yield f"Alarms of this day that nobody has acknowledged: {day.unseen_alarms}"
    low = "; below storage.minimum_free_gb nothing is received" if day.free_gb < day.enough_gb else ""
    yield f"Free space: {day.free_gb:.1f} GB{low}"
    yield f"Series received: {day.received}. Jobs delivered: {day.delivered}"


def numbered(numbers: Sequence[int]) -> str:
    """How many, and their numbers."""
    if not numbers:
        return "none"
    shown = ", ".join(map(str, numbers[:MOST_NUMBERS]))
    return f"{len(numbers)} ({shown}{', ...' if len(numbers) > MOST_NUMBERS else ''})"
