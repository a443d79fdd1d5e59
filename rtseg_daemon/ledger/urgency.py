"""What waits for a person, worst first: one pure order, and the query that gathers what is ordered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import String, and_, cast, exists, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.schema import Delivery, Event, Job, Series
from rtseg_daemon.ledger.states import ARRIVED, JobState, SeriesState

MOST = 500
"""More than a person can look at. The page says where there are more."""


class Need(StrEnum):
    """Why something waits for a person, the gravest first."""

    DOUBT = "IN DOUBT"  # whose images these are is uncertain, nobody may let them go
    FAILED = "FAILED"  # nothing more happens by itself
    HELD = "HELD"  # a gate waits for a decision
    LATE = "LATE"  # it goes on, and somebody waits for it
    REJECT = "REJECT"  # done, with organs that are not to be used, and nobody has said that they were looked at


@dataclass(frozen=True)
class Waiting:
    """One job, or a series without one, that needs a person.

    Args:
        since: when this began, seconds since 1970.
        reason: why, in one line.
        late: somebody waits for it longer than `series.late_minutes`.
        overtaken: a newer job of the same series and bundle has been made since.
    """

    need: Need
    series_id: int
    patient_id: str
    since: float
    reason: str
    job_id: int | None = None
    state: str = ""
    bundle: str = ""
    late: bool = False
    overtaken: bool = False


def worst_first(waiting: Iterable[Waiting]) -> list[Waiting]:
    """What a newer job has overtaken comes last. Then by need, the late before the others, the oldest before the newer.

    Two of the same moment stay in the order of their numbers, so that the list does not jump.
    """
    needs = list(Need)
    return sorted(
        waiting, key=lambda one: (one.overtaken, needs.index(one.need), not one.late, one.since, one.job_id or 0)
    )


def waiting_jobs(session: Session, late: frozenset[int], rejected_since: float) -> list[Waiting]:
    """Jobs HELD or FAILED, late, or done with rejected organs since then and not reviewed. `late` are series."""
    held = and_(Job.state.in_((JobState.HELD, JobState.FAILED)), ~Job.shadow)
    slow = and_(
        Job.series_id.in_(late),
        ~Job.shadow,
        Job.state.in_((JobState.QUEUED, JobState.RUNNING, JobState.SEGMENTED, JobState.DELIVERING)),
    )
    looked_at = exists().where(Event.subject == "job", Event.subject_id == Job.id, Event.what == "reviewed")
    rejected = and_(
        Job.state.in_((JobState.DELIVERED, JobState.SEGMENTED, JobState.DELIVERING)),
        Job.updated_at >= rejected_since,
        ~Job.shadow,
        cast(Job.flags, String).like('%"REJECT"%'),
        ~looked_at,
    )
    found: dict[int, Listed] = {}
    for wanted in (held, slow, rejected):
        query = select(*LISTED).join(Job.series).where(wanted).order_by(Job.id.desc()).limit(MOST)
        found.update({row.id: Listed(*row) for row in session.execute(query)})
    newest = newest_runs(session, {job.series_id for job in found.values()})
    lacking = lacking_of(session, found)
    return [waiting_job(job, late, newest, lacking.get(job.id, [])) for job in found.values()]


class Listed(NamedTuple):
    """What a list tells of a job. Its row holds far more, which would take ten times as long to read."""

    id: int
    series_id: int
    bundle: str
    state: JobState
    stage: str | None
    no_send: bool
    error: str | None
    flags: dict[str, str]
    updated_at: float
    patient_id: str
    sure: bool


LISTED = (
    Job.id,
    Job.series_id,
    Job.bundle,
    Job.state,
    Job.stage,
    Job.no_send,
    Job.error,
    Job.flags,
    Job.updated_at,
    Series.patient_id,
    and_(Job.releasable, Series.releasable),
)
"""The columns of a `Listed`, in its order."""


def lacking_of(session: Session, jobs: Iterable[int]) -> dict[int, list[str]]:
    """Job -> destinations that lack its structure set."""
    query = select(Delivery.job_id, Delivery.destination).where(
        Delivery.job_id.in_(list(jobs)), Delivery.state.not_in(ARRIVED)
    )
    lacking: dict[int, list[str]] = {}
    for job, destination in session.execute(query.order_by(Delivery.id)):
        lacking.setdefault(job, []).append(destination)
    return lacking


def waiting_job(
    job: Listed, late: frozenset[int], newest: dict[tuple[int, str], int], lacking: Sequence[str]
) -> Waiting:
    """The job as it waits."""
    slow = job.series_id in late and not job.no_send
    need, reason = need_of(job, slow, lacking)
    return Waiting(
        need,
        job.series_id,
        job.patient_id,
        job.updated_at,
        reason,
        job_id=job.id,
        state=str(job.state),
        bundle=job.bundle,
        late=slow,
        overtaken=newest.get((job.series_id, job.bundle), job.id) > job.id,
    )


def need_of(job: Listed, late: bool, lacking: Sequence[str]) -> tuple[Need, str]:
    """Why a job needs a person, and the reason in words."""
    if job.state is JobState.HELD:
        return (Need.HELD if job.sure else Need.DOUBT), job.error or "held without a reason; see its events"
    if job.state is JobState.FAILED:
        return Need.FAILED, job.error or "failed without a reason; see its events"
    rejected = [organ for organ, flag in job.flags.items() if flag == "REJECT"]
    if rejected and not late:
        return Need.REJECT, f"{', '.join(rejected)} {'was' if len(rejected) == 1 else 'were'} rejected"
    stage = f" ({job.stage})" if job.stage and job.state is JobState.RUNNING else ""
    return Need.LATE, f"{job.state}{stage}" + (f", not at {' and '.join(lacking)}" if lacking else "")


def newest_runs(session: Session, series: Iterable[int]) -> dict[tuple[int, str], int]:
    """(series, bundle) -> its newest job that sends what it makes."""
    query = select(Job.series_id, Job.bundle, Job.id).where(Job.series_id.in_(list(series)), ~Job.no_send)
    return {(number, bundle): job for number, bundle, job in session.execute(query.order_by(Job.id))}


def waiting_series(session: Session, late: frozenset[int]) -> list[Waiting]:
    """Series that are HELD, or late, and have no job that could tell of it."""
    without_job = ~exists().where(Job.series_id == Series.id)
    states = (SeriesState.HELD, SeriesState.OPEN, SeriesState.COMPLETE)
    query = select(Series).where(Series.state.in_(states), without_job).order_by(Series.id.desc()).limit(MOST)
    return [
        Waiting(
            need_of_series(series),
            series.id,
            series.patient_id,
            series.updated_at if series.state is SeriesState.HELD else series.last_received_at,
            told(series.reasons) or f"the series is {series.state} and has no job",
            state=str(series.state),
            late=series.id in late,
        )
        for series in session.scalars(query)
        if series.state is SeriesState.HELD or series.id in late
    ]


def need_of_series(series: Series) -> Need:
    if series.state is not SeriesState.HELD:
        return Need.LATE
    return Need.HELD if series.releasable else Need.DOUBT


def told(reasons: Sequence[str]) -> str:
    return "; ".join(reasons)
