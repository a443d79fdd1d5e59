"""What a newer job makes obsolete, and what may not be sent."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.jobs import cancel
from rtseg_daemon.ledger.schema import Instance, Job, Series
from rtseg_daemon.ledger.states import (
    ARRIVED,
    SENDABLE,
    UNDELIVERED,
    UNFINISHED,
    DeliveryState,
    InstanceState,
    JobState,
    SeriesState,
)

LACKS_SLICES = (Series.state == SeriesState.OPEN) & select(Instance.id).where(
    Instance.series_id == Series.id, Instance.state == InstanceState.KEPT, Instance.id > Job.last_instance_id
).exists()
"""New slices of the job's series have come, and the sweep has not yet held the job."""


def supersede(session: Session, series_id: int, bundle: str, *, by: int, at: float | None = None) -> int | None:
    """End what a newer job `by` makes obsolete: undelivered and failed jobs of the series and bundle are CANCELLED, and
    those of another bundle that lack its slices (a route that changed, or a rerun, made them). Shadows' jobs supersede
    nothing and raise no alarm. Those that lack its slices and have not ended are CANCELLED.

    One whose structure set a TPS has, or is just getting, raises an alarm if it was made from other slices: it fits no
    longer, and goes to no further TPS (a series that was fetched again after retention had removed it is no such case).
    Returns the id of the newest older job of the bundle.
    """
    new = _objects(session, session.get_one(Job, by))
    everything = session.scalars(select(Job).where(Job.series_id == series_id, Job.id < by).order_by(Job.id)).all()
    older = [job for job in everything if not job.shadow]
    for shadow in everything:
        if shadow.shadow and shadow.state in UNFINISHED and _objects(session, shadow) != new:
            cancel(session, shadow.id, who="daemon", why=f"superseded by job {by}", at=at)
    own = [job.id for job in older if job.bundle == bundle]
    for job in older:
        if job.id not in own and _objects(session, job) == new:
            continue
        there = [one.destination for one in job.deliveries if one.state in ARRIVED]
        leaving = [one.destination for one in job.deliveries if one.state is DeliveryState.SENDING]
        arrived = job.state is JobState.DELIVERED or bool(there)
        outdated = _objects(session, job) != new
        if (arrived or leaving) and outdated:
            known = f"has already been sent to {' and '.join(there) or 'nobody'}" if arrived else ""
            under_way = f"is being sent to {' and '.join(leaving)}" if leaving else ""
            words = " and ".join(filter(None, (known, under_way)))
            message = f"job {by} supersedes job {job.id}, whose structure set {words}"
            raise_alarm(session, "superseded", f"superseded:{job.id}", message, at=at)
        if (job.state in UNDELIVERED and (outdated or not arrived)) or (job.state is JobState.FAILED and not arrived):
            cancel(session, job.id, who="daemon", why=f"superseded by job {by}", at=at)
    return own[-1] if own else None


def predecessor(session: Session, job: Job) -> str | None:
    """SOP Instance UID of the newest stored structure set that the job's result supersedes, or None.

    Passed over are jobs without one, and those whose result was for nobody.
    """
    older = job
    while older.supersedes_id is not None:
        older = session.get_one(Job, older.supersedes_id)
        if older.rtstruct_sop_instance_uid is not None and not older.no_send:
            return older.rtstruct_sop_instance_uid
    return None


def _objects(session: Session, job: Job) -> set[str]:
    """SOP Instance UIDs that a job is about, also of files that retention has removed since."""
    query = select(Instance.sop_instance_uid).where(
        Instance.series_id == job.series_id,
        Instance.id <= job.last_instance_id,
        Instance.state != InstanceState.QUARANTINED,
    )
    return set(session.scalars(query))


def refuse_in_doubt(job: Job) -> None:
    """Raise StateError where it is uncertain whose images a job's are: nothing made of them may be sent."""
    if not job.series.releasable:
        reasons = "; ".join(job.series.reasons)
        raise StateError(f"job {job.id} is of series {job.series_id}, from which nothing may be sent: {reasons}")


def refuse_unsendable(session: Session, job: Job) -> None:
    """Raise StateError where a job's structure set may not be sent, as the ledger stands at this moment."""
    if job.shadow:
        raise StateError(f"job {job.id} is a shadow's; nothing of it leaves this machine")
    if job.state not in SENDABLE:
        raise StateError(f"job {job.id} is {job.state}; its structure set is not sent")
    refuse_in_doubt(job)
    if session.scalar(select(Job.id).join(Series).where(Job.id == job.id, LACKS_SLICES)) is not None:
        raise StateError(f"job {job.id} lacks slices that have come since; it is not sent")


def refuse_superseded(session: Session, job: Job) -> None:
    """Raise StateError where a newer job of the series, of whatever bundle, was made from other slices."""
    query = select(Job).where(Job.series_id == job.series_id, Job.last_instance_id > job.last_instance_id, ~Job.shadow)
    newer = session.scalars(query.order_by(Job.bundle != job.bundle, Job.id.desc()).limit(1)).one_or_none()
    if newer is not None and _objects(session, newer) != _objects(session, job):
        use = "use that one" if newer.bundle == job.bundle else f"rerun that one with --bundle {job.bundle}"
        raise StateError(f"job {job.id} lacks slices that came later; job {newer.id} has them, {use}")


def refuse_unconfigured(job_id: int, destinations: Collection[str], configured: Collection[str] | None) -> None:
    """Raise StateError where none of these destinations of a job is `configured`: nobody would send to them."""
    if configured is not None and destinations and set(destinations).isdisjoint(configured):
        raise StateError(
            f"job {job_id} goes to {', '.join(sorted(destinations))}, no longer configured; configure that and restart "
            f"the daemon, or `rtseg-daemon jobs rerun {job_id}` for the destinations of its route today"
        )
