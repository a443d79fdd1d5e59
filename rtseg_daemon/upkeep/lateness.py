"""Contours that are late: which series someone waits for, and where their structure sets are."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, exists, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.bounded import TO_BE_SENT
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.schema import Alarm, Delivery, Job, Series
from rtseg_daemon.ledger.states import ARRIVED, DeliveryState, JobState, SeriesState

WANTED = (SeriesState.OPEN, SeriesState.COMPLETE, SeriesState.HELD)  # named, so that an index finds them
DONE = (JobState.DELIVERED, JobState.CANCELLED)
UNFINISHED = tuple(state for state in JobState if state not in (*DONE, JobState.SEGMENTED))


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
    going = select(Job.series_id).where(Job.state.in_(UNFINISHED), ~Job.shadow)
    unfinished = Series.id.in_(going.union(select(Job.series_id).where(Job.id.in_(TO_BE_SENT))))
    without_job = ~exists().where(Job.series_id == Series.id, ~Job.no_send)
    late = select(Series.id, Series.last_received_at, Series.state).where(
        Series.last_received_at < before, Series.state.in_(WANTED)
    )
    # one after the other: for both in one PostgreSQL would read every job
    found = sorted({row for one in (unfinished, without_job) for row in session.execute(late.where(one))})
    jobs = newest_jobs(session, [number for number, *_ in found])
    for number, last, state in found:
        standing = how_it_stands(state, jobs.get(number, []))
        if standing:
            yield number, last, standing


@dataclass(frozen=True)
class Newest:
    """The newest job of a series and bundle that sends what it makes, and where it goes: destination and state."""

    id: int
    state: JobState
    deliveries: tuple[tuple[str, DeliveryState], ...] = ()


def newest_jobs(session: Session, series: Sequence[int]) -> dict[int, list[Newest]]:
    """Series -> its newest jobs, one a bundle. Single columns are read: a job's row holds all its figures."""
    newest: dict[tuple[int, str], tuple[int, JobState]] = {}
    jobs = select(Job.series_id, Job.bundle, Job.id, Job.state).where(Job.series_id.in_(series), ~Job.no_send)
    for number, bundle, job, state in session.execute(jobs.order_by(Job.id)):
        newest[number, bundle] = job, state
    going: dict[int, list[tuple[str, DeliveryState]]] = defaultdict(list)
    undone = [job for job, state in newest.values() if state not in DONE]
    deliveries = select(Delivery.job_id, Delivery.destination, Delivery.state).where(Delivery.job_id.in_(undone))
    for job, destination, delivery in session.execute(deliveries.order_by(Delivery.id)):
        going[job].append((destination, delivery))
    of_series: dict[int, list[Newest]] = defaultdict(list)
    for (number, _), (job, state) in newest.items():
        of_series[number].append(Newest(job, state, tuple(going[job])))
    return of_series


def how_it_stands(state: SeriesState, newest: Sequence[Newest]) -> str | None:
    """Why a series is not delivered, from its newest jobs. None if nothing more is to come."""
    waiting = [job for job in newest if awaited(job)]
    if waiting:
        return "; ".join(map(standing_of, waiting))
    return f"the series is {state} and has no job" if not newest else None


def awaited(job: Newest) -> bool:
    """Whether someone waits for this job's contours. Without a destination it is done once it is segmented."""
    return job.state not in DONE and not (job.state is JobState.SEGMENTED and not job.deliveries)


def standing_of(job: Newest) -> str:
    """The job's state, and which destinations lack its structure set."""
    lacking = [destination for destination, state in job.deliveries if state not in ARRIVED]
    return f"job {job.id} is {job.state}" + (f", not at {' and '.join(lacking)}" if lacking else "")
