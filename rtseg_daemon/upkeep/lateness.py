"""Contours that are late: which series someone waits for, and where their structure sets are."""

from collections.abc import Iterator

from sqlalchemy import Engine, exists, or_, select
from sqlalchemy.orm import Session, defer, selectinload

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.schema import Alarm, Job, Series
from rtseg_daemon.ledger.states import ARRIVED, JobState, SeriesState

DONE = (JobState.DELIVERED, JobState.CANCELLED)


def raise_late(engine: Engine, late_seconds: float, now: float) -> int:
    """Raise an alarm per series whose contours are not delivered `late_seconds` after its last slice.

    One that was sent again and is late again is told again.
    """
    with reading(engine) as session:
        late = {
            f"late:{series_id}:{int(last)}": f"series {series_id}: contours are late, {why}"
            for series_id, last, why in late_series(session, now - late_seconds)
        }
        known = set(session.scalars(select(Alarm.key).where(Alarm.key.in_(late))))
    new = {key: message for key, message in late.items() if key not in known}
    for key, message in new.items():
        with writing(engine) as session:
            raise_alarm(session, "late", key, message, at=now)
    return len(new)


def late_series(session: Session, before: float) -> Iterator[tuple[int, float, str]]:
    """(series, its last slice's time, how it stands) for every series that someone waits for since `before`."""
    unwanted = [SeriesState.UNROUTED, SeriesState.REMOVED]
    unfinished = Series.id.in_(select(Job.series_id).where(Job.state.not_in(DONE), ~Job.shadow))
    without_job = ~exists().where(Job.series_id == Series.id, ~Job.no_send)
    query = select(Series).where(
        Series.last_received_at < before, Series.state.not_in(unwanted), or_(unfinished, without_job)
    )
    unread = [defer(column) for column in (Job.rois, Job.verdicts, Job.seconds, Job.flags)]
    together = selectinload(Series.jobs).options(selectinload(Job.deliveries), *unread)  # not a query for each
    for series in session.scalars(query.options(together)):
        standing = how_it_stands(series)
        if standing:
            yield series.id, series.last_received_at, standing


def how_it_stands(series: Series) -> str | None:
    """Why a series is not delivered, from its newest jobs. None if nothing more is to come."""
    newest: dict[str, Job] = {job.bundle: job for job in series.jobs if not job.no_send}
    waiting = [job for job in newest.values() if awaited(job)]
    if waiting:
        return "; ".join(map(standing_of, waiting))
    return f"the series is {series.state} and has no job" if not newest else None


def awaited(job: Job) -> bool:
    """Whether someone waits for this job's contours. Without a destination it is done once it is segmented."""
    return job.state not in DONE and not (job.state is JobState.SEGMENTED and not job.deliveries)


def standing_of(job: Job) -> str:
    """The job's state, and which destinations lack its structure set."""
    lacking = [one.destination for one in job.deliveries if one.state not in ARRIVED]
    return f"job {job.id} is {job.state}" + (f", not at {' and '.join(lacking)}" if lacking else "")
