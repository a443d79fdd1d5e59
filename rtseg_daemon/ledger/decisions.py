"""What a person decides about a job: let it go on, try again, do it once more. Who and why stands in its events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.config.values import without_version
from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.job_deliveries import add_deliveries, settle_job, wake_deliveries
from rtseg_daemon.ledger.jobs import create_job, note_reception, reception_reasons
from rtseg_daemon.ledger.moves import move_job
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import kept_instances, partly_removed
from rtseg_daemon.ledger.states import ARRIVED, DeliveryState, JobState
from rtseg_daemon.ledger.superseding import refuse_in_doubt, refuse_superseded, refuse_unconfigured


@dataclass(frozen=True)
class Marked:
    """A stored structure set with the note that a person let it go. It takes the place of the one with digest `of`."""

    of: str
    rtstruct_path: str
    rtstruct_sha256: str
    rtstruct_sop_instance_uid: str
    rois: list[dict[str, Any]]
    flags: dict[str, str]

    @property
    def columns(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "of"}


def release(
    session: Session,
    job_id: int,
    who: str,
    why: str,
    destinations: Sequence[str],
    *,
    marked: Marked | None = None,
    at: float | None = None,
) -> Job:
    """Let a HELD job go on: to its delivery if its RTSTRUCT is stored, else to the queue.

    A stored one goes only as `marked`. One that is made later is marked as it is made. Raises StateError if the job is
    not HELD, may not be released (a mixed or contradictory identity), or a newer job supersedes it.
    """
    job = session.get(Job, job_id)
    refuse_of_shadow(job, "is released")
    if job is not None and job.state is JobState.HELD and not (job.releasable and job.series.releasable):
        raise StateError(f"job {job_id} may not be released: {job.error}")
    if job is None or job.state is not JobState.HELD:
        raise StateError(f"job {job_id} is {job.state if job else 'unknown'}; only a HELD job can be released")
    refuse_superseded(session, job)
    to = JobState.SEGMENTED if job.rtstruct_path else JobState.QUEUED
    if job.rtstruct_path and (marked is None or marked.of != job.rtstruct_sha256):
        raise StateError(f"job {job_id}: its structure set was made anew meanwhile; look at it and release it again")
    values = marked.columns if marked and job.rtstruct_path else {}
    detail = {"why": why}
    move_job(session, job_id, to, what="released", who=who, detail=detail, at=at, released_by=who, error=None, **values)
    if to is JobState.SEGMENTED and not job.no_send:
        stopped = (DeliveryState.CANCELLED, DeliveryState.FAILED)
        wake_deliveries(session, job_id, stopped, destinations, what="released", who=who, at=at)
        add_deliveries(session, job, destinations, who=who, at=at)
        if any(delivery.state in (DeliveryState.SENDING, *ARRIVED) for delivery in job.deliveries):
            move_job(session, job_id, JobState.DELIVERING, what="was sent before it was held", at=at)
        settle_job(session, job_id, at=at)
    return job


def refuse_of_shadow(job: Job | None, what: str) -> None:
    """Raise StateError for a shadow's job: its contours are compared, and never used."""
    if job is not None and job.shadow:
        raise StateError(
            f"job {job.id} is a shadow's and nothing of it {what}; `rtseg-daemon jobs rerun` a job of the same series "
            f"that is none, with --bundle {job.bundle}"
        )


def retry(
    session: Session,
    job_id: int,
    who: str,
    *,
    configured: Sequence[str] | None = None,
    why: str = "",
    at: float | None = None,
) -> Job:
    """Take a FAILED job up again: its deliveries if its RTSTRUCT is stored, else the whole work, attempts at 0.

    Only deliveries to the `configured` destinations wake, where they are given. Raises StateError if the job is not
    FAILED, its series' identity is in doubt, a newer job supersedes it, or none of its destinations is configured.
    """
    job = session.get(Job, job_id)
    if job is None or job.state is not JobState.FAILED:
        raise StateError(f"job {job_id} is {job.state if job else 'unknown'}; only a FAILED job can be retried")
    refuse_in_doubt(job)
    refuse_superseded(session, job)
    detail = {"why": why} if why else None
    if job.rtstruct_path and job.deliveries:
        failed = {one.destination for one in job.deliveries if one.state is DeliveryState.FAILED}
        refuse_unconfigured(job_id, failed, configured)
        move_job(session, job_id, JobState.DELIVERING, what="retried", who=who, detail=detail, at=at, error=None)
        wake_deliveries(session, job_id, (DeliveryState.FAILED,), configured, what="retried", who=who, at=at)
    else:
        move_job(
            session, job_id, JobState.QUEUED, what="retried", who=who, detail=detail, at=at, error=None, attempts=0
        )
    return job


def rerun(
    session: Session,
    job_id: int,
    who: str,
    *,
    bundle: str | None = None,
    no_send: bool = False,
    why: str = "",
    at: float | None = None,
) -> Job:
    """A new job for the same series and instances, as its next run. The old one stays as it is.

    What is to be sent supersedes a result of the same bundle, and its structure set names that as its predecessor.

    Raises StateError where any of its images is gone, or where its result would be sent but may not be: the series'
    identity is in doubt, or a newer job was made from more slices.
    """
    old = session.get(Job, job_id)
    if old is None:
        raise StateError(f"there is no job {job_id}")
    refuse_of_shadow(old, "is run again")
    if not kept_instances(session, old.series_id, up_to=old.last_instance_id):
        raise StateError(
            f"the images of job {job_id} were removed; fetch the study again, which makes a job of its own"
        )
    if session.scalar(select(partly_removed(old.series_id, old.last_instance_id))):
        raise StateError(
            f"some of the images of job {job_id} were removed, and the others are no whole series; fetch the study "
            "again, which makes a job of its own"
        )
    if not no_send:
        refuse_in_doubt(old)
        refuse_superseded(session, old)
    name = bundle or old.bundle
    of_series = select(Job).where(Job.series_id == old.series_id, Job.last_instance_id == old.last_instance_id)
    same = [job.run for job in session.scalars(of_series) if without_version(job.bundle) == without_version(name)]
    run = max(same, default=0) + 1  # another version may be the one that made `old`: UIDs follow from digest and run
    replaces = not no_send and without_version(old.bundle) == without_version(name)
    job = create_job(
        session,
        old.series_id,
        old.last_instance_id,
        name,
        old.route,
        run=run,
        no_send=no_send,
        supersedes=old.id if replaces else None,
        who=who,
        at=at,
    )
    if reasons := reception_reasons(old):
        note_reception(job, reasons)
    record_event(session, "job", job.id, "rerun", detail={"of": job_id} | ({"why": why} if why else {}), who=who, at=at)
    return job
