"""What the supervisor reads and writes: its children, and how far running jobs have come."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.schema import Job, Process
from rtseg_daemon.ledger.states import JobState


@dataclass(frozen=True)
class Progress:
    """A running job as its ledger row tells it; `beats` grows with every step."""

    job_id: int
    owner: str
    beats: int
    stage: str


def running_jobs(session: Session) -> list[Progress]:
    """Every RUNNING job."""
    query = select(Job.id, Job.lease_owner, Job.beats, Job.stage).where(Job.state == JobState.RUNNING)
    return [
        Progress(job_id, owner or "", beats, stage or "start") for job_id, owner, beats, stage in session.execute(query)
    ]


def note_process(
    session: Session, name: str, pid: int | None, state: str, restarts: int, detail: str | None = None
) -> None:
    """Remember how a child of the supervisor is."""
    session.merge(Process(name=name, pid=pid, state=state, restarts=restarts, updated_at=time.time(), detail=detail))


def forget_processes(session: Session) -> None:
    """The supervisor starts or ends: no child is known."""
    session.execute(delete(Process))


def processes(session: Session) -> Sequence[Process]:
    """All children, by name."""
    return session.scalars(select(Process).order_by(Process.name)).all()
