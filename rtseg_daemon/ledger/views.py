"""The ledger as programs read it: plain dictionaries, the shapes of every `--json`. Times are ISO 8601 in UTC."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rtseg_daemon.anatomy.organ_line import whole_roi
from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.bounded import TO_BE_SENT
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.rejected_callers import rejected_since, rejected_totals
from rtseg_daemon.ledger.schema import (
    Alarm,
    Delivery,
    Destination,
    Event,
    Instance,
    Job,
    Process,
    RejectedCaller,
    Series,
)
from rtseg_daemon.ledger.seen_alarms import unseen_count, unsent
from rtseg_daemon.ledger.states import DeliveryState, InstanceState, JobState, ReturnedState, SeriesState
from rtseg_daemon.ledger.supervision import processes

JsonObject = dict[str, Any]

DAY_SECONDS = 86400.0
MOST_REJECTED = 10
LONGEST_NUMBER = 18
"""Digits of a row's number. A longer one is larger than any."""
"""So many callers that were rejected are shown, the last ones."""
WAITING = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)


PICTURE = "picture.png"
Shown = Callable[[str, str], str]
"""From a path in the ledger and the host that has the file to how it is told: `storage.Layout.shown`."""
"""The page to review a result by, beside its structure set. It comes after that, and goes with it."""


def moment(seconds: float | None) -> str | None:
    """Seconds since 1970 as `2026-01-31T12:00:00.000Z`."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_shape(job: Job, shown: Shown) -> JsonObject:
    """One job as `jobs list --json` shows it."""
    return {
        "id": job.id,
        "state": str(job.state),
        "series_instance_uid": job.series.series_instance_uid,
        "study_instance_uid": job.series.study_instance_uid,
        "patient_id": job.series.patient_id,
        "bundle": job.bundle,
        "route": job.route,
        "run": job.run,
        "shadow": job.shadow,
        "attempts": job.attempts,
        "created_at": moment(job.created_at),
        "updated_at": moment(job.updated_at),
        "error": job.error,
        "rtstruct_path": shown(job.rtstruct_path, job.host) if job.rtstruct_path else None,
        "rtstruct_sop_instance_uid": job.rtstruct_sop_instance_uid,
        "flags": job.flags,
    }


def job_detail(job: Job, shown: Shown) -> JsonObject:
    """One job as `jobs show --json` shows it: also verdicts, organs, times and deliveries."""
    return job_shape(job, shown) | {
        "bundle_digest": job.bundle_digest,
        "series_id": job.series_id,
        "stage": job.stage if job.state is JobState.RUNNING else None,
        "heartbeat_at": moment(job.heartbeat_at),
        "host": job.host or None,
        "lease": lease_shape(job) if job.state is JobState.RUNNING else None,
        "releasable": job.releasable and job.series.releasable,
        "released_by": job.released_by,
        "no_send": job.no_send,
        "supersedes": job.supersedes_id,
        "verdicts": job.verdicts,
        "rois": [whole_roi(roi) for roi in job.rois],
        "seconds": job.seconds,
        "rtstruct_sha256": job.rtstruct_sha256,
        "picture_path": picture_of(job, shown),
        "deliveries": [delivery_shape(delivery) for delivery in job.deliveries],
    }


def lease_shape(job: Job) -> JsonObject:
    """Who is at a job, by which claim, and until when nobody else takes it up."""
    return {"owner": job.lease_owner, "claim": job.lease_token, "until": moment(job.lease_until)}


def picture_of(job: Job, shown: Shown) -> str | None:
    """Path of the page to review a job's result by, or None where it is not drawn (yet) or was removed."""
    path = Path(shown(job.rtstruct_path, job.host)).with_name(PICTURE) if job.rtstruct_path else None
    return str(path) if path is not None and path.is_file() else None


def delivery_shape(delivery: Delivery) -> JsonObject:
    """One delivery as `deliveries list --json` shows it."""
    return {
        "id": delivery.id,
        "job": delivery.job_id,
        "destination": delivery.destination,
        "state": str(delivery.state),
        "attempts": delivery.attempts,
        "next_attempt_at": moment(delivery.next_attempt_at),
        "last_attempt_at": moment(delivery.last_attempt_at),
        "last_status": None if delivery.last_status is None else f"0x{delivery.last_status:04X}",
        "last_comment": delivery.last_comment,
        "sent_at": moment(delivery.sent_at),
    }


def series_shape(series: Series, instances: int) -> JsonObject:
    """One series as `series list --json` shows it."""
    return {
        "id": series.id,
        "state": str(series.state),
        "series_instance_uid": series.series_instance_uid,
        "study_instance_uid": series.study_instance_uid,
        "patient_id": series.patient_id,
        "modality": series.modality,
        "calling_ae": series.calling_ae,
        "calling_host": series.calling_host,
        "body_part": series.body_part,
        "description": series.description,
        "instance_count": instances,
        "expected_count": series.expected_count,
        "reasons": series.reasons,
        "first_received_at": moment(series.first_received_at),
        "last_received_at": moment(series.last_received_at),
    }


def series_detail(series: Series, shown: Shown) -> JsonObject:
    """One series as `series show --json` shows it: also its instances and jobs."""
    kept = [instance for instance in series.instances if instance.state is InstanceState.KEPT]
    held_back = [instance for instance in series.instances if instance.state is InstanceState.QUARANTINED]
    return series_shape(series, len(kept)) | {
        "instances": [instance_shape(instance, shown) for instance in kept],
        "quarantined": [instance_shape(instance, shown) for instance in held_back],
        "jobs": [job.id for job in series.jobs if not job.shadow],
        "shadow_jobs": [job.id for job in series.jobs if job.shadow],
    }


def instance_shape(instance: Instance, shown: Shown) -> JsonObject:
    return {
        "sop_instance_uid": instance.sop_instance_uid,
        "path": shown(instance.path, instance.host),
        "sha256": instance.sha256,
    }


def alarm_shape(alarm: Alarm) -> JsonObject:
    """One alarm as `alarms list --json` shows it."""
    return {
        "id": alarm.id,
        "kind": alarm.kind,
        "at": moment(alarm.at),
        "message": alarm.message,
        "sent_at": moment(alarm.sent_at),
        "attempts": alarm.attempts,
        "error": alarm.error,
        "acknowledged_at": moment(alarm.acknowledged_at),
        "acknowledged_by": alarm.acknowledged_by,
    }


def event_shape(event: Event) -> JsonObject:
    return {
        "at": moment(event.at),
        "what": event.what,
        "from": event.from_state,
        "to": event.to_state,
        "who": event.who,
        "detail": event.detail,
    }


def all_jobs(
    session: Session, state: JobState | None = None, limit: int | None = None, *, shadow: bool = False
) -> Sequence[Job]:
    """Jobs, newest first: those that somebody waits for, or with `shadow` the shadows'."""
    query = select(Job).where(Job.shadow.is_(shadow)).order_by(Job.id.desc()).limit(limit)
    return session.scalars(query if state is None else query.where(Job.state == state)).all()


@dataclass(frozen=True)
class Wanted:
    """Which series are asked for: all that meet every stated condition, at most `limit`, the newest."""

    state: SeriesState | None = None
    patient_id: str | None = None
    since: float | None = None
    limit: int | None = None


def all_series(session: Session, wanted: Wanted = Wanted()) -> list[tuple[Series, int]]:
    """Series, newest first, each with its number of KEPT instances."""
    kept = select(func.count()).where(Instance.series_id == Series.id, Instance.state == InstanceState.KEPT)
    query = select(Series, kept.scalar_subquery())  # counted for what is shown alone
    if wanted.state is not None:
        query = query.where(Series.state == wanted.state)
    if wanted.patient_id is not None:
        query = query.where(Series.patient_id == wanted.patient_id)
    if wanted.since is not None:
        query = query.where(Series.last_received_at >= wanted.since)
    return [(series, count) for series, count in session.execute(query.order_by(Series.id.desc()).limit(wanted.limit))]


def all_deliveries(session: Session, state: DeliveryState | None = None) -> Sequence[Delivery]:
    """Deliveries, newest first."""
    query = select(Delivery).order_by(Delivery.id.desc())
    return session.scalars(query if state is None else query.where(Delivery.state == state)).all()


def find_job(session: Session, job_id: int) -> Job:
    """The job of this number. Raises StateError if there is none."""
    job = session.get(Job, job_id)
    if job is None:
        raise StateError(f"there is no job {job_id}; see `rtseg-daemon jobs list`")
    return job


def find_series(session: Session, name: str) -> Series:
    """The series of this number or SeriesInstanceUID. Raises StateError if there is none."""
    is_number = name.isascii() and name.isdecimal() and len(name) <= LONGEST_NUMBER
    query = select(Series).where(Series.series_instance_uid == name)
    series = session.get(Series, int(name)) if is_number else session.scalars(query).one_or_none()
    if series is None:
        raise StateError(f"there is no series {name}; see `rtseg-daemon series list`")
    return series


def counts(session: Session) -> JsonObject:
    """How many there are of each kind in each state. Shadows' jobs are counted by themselves."""
    query = select(Job.state, func.count()).group_by(Job.state)
    jobs = session.execute(query.where(~Job.shadow)).all()
    shadows = session.execute(query.where(Job.shadow)).all()
    series = session.execute(select(Series.state, func.count()).group_by(Series.state)).all()
    deliveries = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all()
    returned = session.execute(select(ReturnedSet.state, func.count()).group_by(ReturnedSet.state)).all()
    return {
        "jobs": dict.fromkeys(map(str, JobState), 0) | {str(state): count for state, count in jobs},
        "shadow_jobs": {str(state): count for state, count in shadows},
        "series": dict.fromkeys(map(str, SeriesState), 0) | {str(state): count for state, count in series},
        "deliveries": dict.fromkeys(map(str, DeliveryState), 0) | {str(state): count for state, count in deliveries},
        "returned": dict.fromkeys(map(str, ReturnedState), 0) | {str(state): count for state, count in returned},
    }


def status_shape(
    session: Session,
    now: float,
    free_gb: float | None,
    destinations: Sequence[str],
    running: bool = True,
    host: str | None = None,
) -> JsonObject:
    """What `status --json` shows. `destinations` are the configured ones, `running` is False where no daemon lives.

    Processes are those of `host`, of several.
    """
    oldest = oldest_waiting(session)
    known = {row.name: row for row in session.scalars(select(Destination))}
    waiting_alarms = unsent(session)
    children = processes(session, host) if running else []
    return counts(session) | {
        "oldest_waiting_seconds": None if oldest is None else round(max(0.0, now - oldest), 1),
        "disk": {"free_gb": free_gb},
        "running": bool(children),
        "workers": [process_shape(child) for child in children if child.name.startswith("worker")],
        "processes": [process_shape(child) for child in children],
        "destinations": [destination_shape(name, known.get(name), session) for name in destinations],
        "unsent_alarms": len(waiting_alarms),
        "unsent_alarms_error": next((alarm.error for alarm in reversed(waiting_alarms) if alarm.error), None),
        "unacknowledged_alarms": unseen_count(session),
        "rejected_associations": rejected_totals(session),
        "rejected_callers": [rejected_shape(row) for row in rejected_since(session, now - DAY_SECONDS, MOST_REJECTED)],
    }


def oldest_waiting(session: Session) -> float | None:
    """When the oldest job was made that somebody waits for. None where there is none."""
    made = select(func.min(Job.created_at)).where(~Job.shadow)
    waiting = (Job.state.in_(WAITING), (Job.state == JobState.SEGMENTED) & Job.id.in_(TO_BE_SENT))
    found = [session.scalar(made.where(one)) for one in waiting]
    return min((at for at in found if at is not None), default=None)


def rejected_shape(row: RejectedCaller) -> JsonObject:
    """A caller that was rejected of late."""
    return {
        "calling_ae": row.calling_ae,
        "called_ae": row.called_ae,
        "host": row.host,
        "reason": row.reason,
        "count": row.count,
        "first_at": moment(row.first_at),
        "last_at": moment(row.last_at),
    }


def process_shape(process: Process) -> JsonObject:
    return {
        "name": process.name,
        "host": process.host or None,
        "pid": process.pid,
        "state": process.state,
        "restarts": process.restarts,
        "since": moment(process.updated_at),
        "detail": process.detail,
    }


def destination_shape(name: str, row: Destination | None, session: Session) -> JsonObject:
    unsent = (DeliveryState.WAITING, DeliveryState.SENDING)
    query = select(func.count()).where(Delivery.destination == name, Delivery.state.in_(unsent))
    return {
        "name": name,
        "up": row.up if row else None,
        "since": moment(row.since) if row else None,
        "checked_at": moment(row.checked_at) if row else None,
        "error": row.error if row else None,
        "waiting": session.scalar(query),
    }
