"""The life of a job: every change is guarded by the state it comes from and writes its event in its transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.job_deliveries import add_deliveries, stop_deliveries
from rtseg_daemon.ledger.leases import LEASE_SECONDS, Lease, database_time, renew
from rtseg_daemon.ledger.moves import move_job
from rtseg_daemon.ledger.retry import EVEN, backoff_seconds
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import UNDELIVERED, UNFINISHED, JobState, SeriesState
from rtseg_daemon.ledger.wake import JOBS, tell

SHADOW_RUN = 0
"""The run of a shadow's job: what is sent has runs from 1 on, so that no UID of a shadow is ever that of a result."""
RECEPTION = "reception"
"""Beside the gates' names in a job's verdicts: what the reception of its series has against it."""
FIRST_PAUSE_SECONDS = 15.0
"""Until a job that was put off is tried again. Each time in a row it is twice as long."""
LONGEST_PAUSE_SECONDS = 300.0
HOME = select(Instance.host).where(Instance.id == Job.last_instance_id).scalar_subquery()
"""Where a job's result is kept: beside its last image, wherever that is by now."""


def create_job(
    session: Session,
    series_id: int,
    last_instance_id: int,
    bundle: str,
    route: str,
    *,
    run: int = 1,
    no_send: bool = False,
    shadow: bool = False,
    supersedes: int | None = None,
    who: str = "daemon",
    at: float | None = None,
) -> Job:
    """A QUEUED job for the series' instances up to `last_instance_id`, or the existing one of this run.

    A shadow's is run 0 and is not sent, whatever is asked.
    """
    run, no_send = (SHADOW_RUN, True) if shadow else (run, no_send)
    query = select(Job).where(
        Job.series_id == series_id, Job.bundle == bundle, Job.last_instance_id == last_instance_id, Job.run == run
    )
    existing = session.scalars(query).one_or_none()
    if existing is not None:
        return existing
    moment = or_now(at)
    newest = session.get(Instance, last_instance_id)
    job = Job(
        series_id=series_id,
        last_instance_id=last_instance_id,
        bundle=bundle,
        route=route,
        run=run,
        no_send=no_send,
        shadow=shadow,
        supersedes_id=supersedes,
        state=JobState.QUEUED,
        host=newest.host if newest is not None else "",  # where its result is kept: beside its last image
        created_at=moment,
        updated_at=moment,
    )
    session.add(job)
    session.flush()
    record_event(session, "job", job.id, "created", to_state=JobState.QUEUED, who=who, at=moment)
    tell(session, JOBS)
    return job


def waiting(session: Session, at: float | None = None) -> Select[int]:
    """QUEUED jobs that may be claimed, the next one first: the oldest, a shadow's only where no other waits.

    One that was put off is left alone for its pause, then stands behind those that were here when it was put off. A
    pause that lies further ahead than any could is over (the clock was set back).
    """
    now = database_time(session, at)
    over = or_(Job.not_before.is_(None), Job.not_before <= now, Job.not_before > now + 2 * LONGEST_PAUSE_SECONDS)
    place = case((Job.behind > Job.id, Job.behind), else_=Job.id)
    return select(Job.id).where(Job.state == JobState.QUEUED, over).order_by(Job.shadow, place, Job.behind, Job.id)


def next_waiting(session: Session) -> int | None:
    """The job to be claimed next (see `waiting`), or None if none may be."""
    return session.scalar(waiting(session).limit(1))


def somebody_waits(session: Session) -> bool:
    """Whether a job may be claimed that is no shadow's."""
    return session.scalar(waiting(session).where(~Job.shadow).limit(1)) is not None


def make_way(session: Session, lease: Lease, *, at: float | None = None) -> Job:
    """QUEUED again, free of charge: a shadow's job lets one that somebody waits for go first. Raises LeaseLost."""
    return move_job(session, lease.job_id, JobState.QUEUED, what="made way", who=lease.owner, lease=lease, at=at)


def put_off(session: Session, lease: Lease, reason: str, *, at: float | None = None) -> Job:
    """QUEUED again, free of charge: what the job needs is not there now. Raises LeaseLost.

    No worker takes it for a pause that grows from time to time. The first time of several in a row is an event.
    """
    times = session.get_one(Job, lease.job_id).put_offs
    pause = backoff_seconds(times + 1, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, EVEN)
    return move_job(
        session,
        lease.job_id,
        JobState.QUEUED,
        what="put off",
        who=lease.owner,
        lease=lease,
        detail={"reason": reason},
        at=at,
        told=times == 0,
        error=reason,
        put_offs=times + 1,
        not_before=database_time(session, at) + pause,
        behind=session.scalar(select(func.max(Job.id))),
    )


def claim_job(session: Session, owner: str, *, at: float | None = None) -> Job | None:
    """Lease the next job (see `waiting`) to the worker `owner`, or None if there is nothing to do."""
    moment = or_now(at)
    next_one = waiting(session, at).limit(1)
    # passed over: a row that a person holds in psql
    job_id = session.scalar(next_one.with_for_update(skip_locked=True))
    if job_id is None:
        return None
    return move_job(
        session,
        job_id,
        JobState.RUNNING,
        what="claimed",
        who=owner,
        at=moment,
        lease_owner=owner,
        lease_token=Job.lease_token + 1,
        lease_until=database_time(session, at) + LEASE_SECONDS,
        host=case((Job.rtstruct_path.is_(None), func.coalesce(HOME, Job.host)), else_=Job.host),
        started_at=moment,
        heartbeat_at=moment,
        beats=0,
        stage=None,
        error=None,
    )


def heartbeat(session: Session, lease: Lease, stage: str, *, at: float | None = None) -> None:
    """Show progress. Raises LeaseLost if the job was cancelled, held or given to another worker."""
    renew(session, lease, at=at, stage=stage, beats=Job.beats + 1, heartbeat_at=or_now(at))


@dataclass(frozen=True)
class Outcome:
    """What segmentation left behind. Paths are relative to the storage directory, `rois` as in `segment --json`."""

    bundle_digest: str
    verdicts: list[dict[str, Any]]
    rois: list[dict[str, Any]] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rtstruct_path: str | None = None
    rtstruct_sop_instance_uid: str | None = None
    rtstruct_sha256: str | None = None

    @property
    def columns(self) -> dict[str, Any]:
        return dict(vars(self))


def finish_segmentation(
    session: Session, lease: Lease, outcome: Outcome, destinations: Sequence[str], *, at: float | None = None
) -> Job:
    """SEGMENTED with its deliveries (none for a `no_send` job). Raises LeaseLost if the job has another lease."""
    who, done = lease.owner, JobState.SEGMENTED
    job = move_job(session, lease.job_id, done, what="segmented", who=who, lease=lease, at=at, **outcome.columns)
    if not job.no_send:
        add_deliveries(session, job, destinations, who=who, at=at)
    return job


def hold(
    session: Session,
    job_id: int,
    reason: str,
    *,
    releasable: bool = True,
    lease: Lease | None = None,
    outcome: Outcome | None = None,
    at: float | None = None,
) -> Job:
    """HELD with the reason. `outcome` keeps what was made before the hold (verdicts, and any RTSTRUCT)."""
    columns = outcome.columns if outcome else {}
    return move_job(
        session,
        job_id,
        JobState.HELD,
        what="held",
        who=lease.owner if lease else "daemon",
        lease=lease,
        detail={"reason": reason, "releasable": releasable},
        at=at,
        error=reason,
        releasable=releasable,
        **columns,
    )


def fail(session: Session, job_id: int, reason: str, *, lease: Lease | None = None, at: float | None = None) -> Job:
    """FAILED with the reason."""
    detail = {"reason": reason}
    return move_job(
        session,
        job_id,
        JobState.FAILED,
        what="failed",
        who=lease.owner if lease else "daemon",
        lease=lease,
        detail=detail,
        at=at,
        error=reason,
    )


def hold_undelivered(
    session: Session, series_id: int, reason: str, *, releasable: bool, at: float | None = None
) -> None:
    """HELD for every job of a series that is not delivered yet. What waits to be sent is not sent.

    A shadow's job that has not ended is CANCELLED: nobody waits for it.
    """
    query = select(Job).where(Job.series_id == series_id, Job.state.in_(UNDELIVERED))
    for job in session.scalars(query).all():
        if job.shadow:
            if job.state in UNFINISHED:
                cancel(session, job.id, who="daemon", why=reason, at=at)
            continue
        if job.state is JobState.HELD:
            reasons = [*(job.error or "").split("; "), *reason.split("; ")]
            job.error, job.releasable = "; ".join(filter(None, dict.fromkeys(reasons))), job.releasable and releasable
            record_event(session, "job", job.id, "held", detail={"reason": reason, "releasable": releasable}, at=at)
        else:
            hold(session, job.id, reason, releasable=releasable, at=at)
        note_reception(job, [reason])
        stop_deliveries(session, job.id, reason, at=at)


def note_reception(job: Job, reasons: Sequence[str]) -> None:
    """Keep what reception has against a job's series beside the gates' verdicts: whoever lets it go answers for it."""
    known = [verdict for verdict in job.verdicts or () if verdict["gate"] != RECEPTION]
    together = list(dict.fromkeys([*reception_reasons(job), *reasons]))
    job.verdicts = [*known, {"gate": RECEPTION, "verdict": "hold", "reasons": together}]


def reception_reasons(job: Job) -> list[str]:
    """What reception has against a job's series, with the series' own reasons where it is HELD."""
    noted = [reason for one in job.verdicts or () if one["gate"] == RECEPTION for reason in one["reasons"]]
    held = job.series.reasons if job.series.state is SeriesState.HELD else []
    return list(dict.fromkeys([*noted, *held]))


def cancel(session: Session, job_id: int, who: str, why: str = "", *, at: float | None = None) -> Job:
    """CANCELLED. What was not sent stays here. Raises StateError for a delivered or already cancelled job."""
    job = move_job(
        session, job_id, JobState.CANCELLED, what="cancelled", who=who, detail={"why": why}, at=at, error=why or None
    )
    stop_deliveries(session, job_id, why, who=who, at=at)
    return job
