"""What the supervisor reads and writes: its children, and how far running jobs have come."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import delete, select, true
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.schema import Job, Process, Setting
from rtseg_daemon.ledger.states import JobState


@dataclass(frozen=True)
class Progress:
    """A running job as its ledger row tells it. `beats` grows with every step."""

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
    session: Session,
    name: str,
    pid: int | None,
    state: str,
    restarts: int,
    detail: str | None = None,
    *,
    host: str = "",
) -> None:
    """Remember how a child of the supervisor on `host` is."""
    values = {"pid": pid, "state": state, "restarts": restarts, "updated_at": time.time(), "detail": detail}
    session.merge(Process(host=host, name=name, **values))


def forget_processes(session: Session, host: str | None) -> None:
    """The supervisor starts or ends: no child on its host is known, with None none at all."""
    session.execute(delete(Process).where(true() if host is None else Process.host == host))


def processes(session: Session, host: str | None = None) -> Sequence[Process]:
    """All children by name, of one host or of all. Rows without a host are of the only one."""
    query = select(Process).order_by(Process.host, Process.name)
    return session.scalars(query if host is None else query.where(Process.host.in_(("", host)))).all()


@dataclass(frozen=True)
class Pulse:
    """What the supervisor last said of itself, for `status`. Seconds are monotonic, the same for all processes."""

    pid: int
    at: float
    silent: dict[str, float] = field(default_factory=dict)
    """Child -> seconds since it last showed that it lives."""
    overdue: dict[str, float] = field(default_factory=dict)
    """Chore -> seconds since it last ended without an error, where that is too long."""


PULSE_KEY = "pulse"


def note_pulse(session: Session, pulse: Pulse, host: str | None = None) -> None:
    """Replace the last pulse of the supervisor on `host`."""
    session.merge(Setting(key=pulse_key(host), value=json.dumps(asdict(pulse))))


def last_pulse(session: Session, host: str | None = None) -> Pulse | None:
    """The last pulse of the supervisor on `host`, or None if it never had one."""
    setting = session.get(Setting, pulse_key(host))
    return Pulse(**json.loads(setting.value)) if setting else None


def pulse_key(host: str | None) -> str:
    """Each host's supervisor has a clock of its own."""
    return PULSE_KEY if host is None else f"{PULSE_KEY} {host}"
