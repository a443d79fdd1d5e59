"""Running jobs whose worker is gone: taken up again, or FAILED where they cost too many workers."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.leases import database_time, of_host
from rtseg_daemon.ledger.moves import move_job
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState


def worker_lost(session: Session, owner: str, reason: str, max_attempts: int, *, at: float | None = None) -> list[Job]:
    """The worker died or hung: its job is QUEUED again, or FAILED after `max_attempts` of these.

    `owner` may be the beginning of its name, as its supervisor knows it.
    """
    query = select(Job).where(Job.lease_owner.startswith(owner, autoescape=True), Job.state == JobState.RUNNING)
    return [_charge(session, job, reason, max_attempts, at) for job in session.scalars(query).all()]


def expired(session: Session, but: Collection[str] = (), *, at: float | None = None) -> list[Job]:
    """RUNNING jobs whose lease has run out.

    Those of workers whose names begin as one of `but` are left out: their supervisor lives and watches them by its own
    clock, which nobody sets.
    """
    query = select(Job).where(Job.state == JobState.RUNNING, Job.lease_until < database_time(session, at))
    return [
        job for job in session.scalars(query.order_by(Job.id)) if not (job.lease_owner or "").startswith(tuple(but))
    ]


def take_up_expired(
    session: Session, max_attempts: int, but: Collection[str] = (), *, at: float | None = None
) -> list[Job]:
    """QUEUED again, or FAILED, for each of `expired`. Whoever looks does it, the second finds nothing."""
    return [
        _charge(session, job, f"{job.lease_owner} was heard of no more", max_attempts, at)
        for job in expired(session, but, at=at)
    ]


def _charge(session: Session, job: Job, reason: str, max_attempts: int, at: float | None) -> Job:
    attempts = job.attempts + 1
    spent = attempts >= max_attempts
    error = f"{reason} (attempt {attempts} of {max_attempts}, in stage {job.stage or 'start'})"
    return move_job(
        session,
        job.id,
        JobState.FAILED if spent else JobState.QUEUED,
        what="worker lost",
        detail={"reason": reason, "stage": job.stage, "attempts": attempts},
        at=at,
        attempts=attempts,
        error=error,
    )


def requeue_own(session: Session, host: str | None, *, at: float | None = None) -> int:
    """After a restart of the supervisor no worker of its host is left: their RUNNING jobs are QUEUED again, free of
    charge. With None those of every host."""
    return _requeue(session, of_host(host), "daemon restarted", at)


def requeue_unheard(session: Session, owner: str) -> int:
    """The worker `owner` is at no job. What is RUNNING under its name it claimed without hearing that the claim was
    committed. It is QUEUED again, free of charge."""
    return _requeue(session, Job.lease_owner == owner, "claim was not heard of", None)


def _requeue(session: Session, whose: ColumnElement[bool], what: str, at: float | None) -> int:
    ids = session.scalars(select(Job.id).where(Job.state == JobState.RUNNING, whose)).all()
    for job_id in ids:
        move_job(session, job_id, JobState.QUEUED, what=what, at=at)
    return len(ids)
