"""Leases: whose a running job is, by owner and token, and until when. Times are the database's.

A claim gives the next token. Every later write of the job names owner and token. So a worker that was thought dead, and
whose job another one has taken up, can finish nothing.
"""

import os
import secrets
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, literal, select, true, update
from sqlalchemy.orm import Session

from rtseg_daemon.errors import LeaseLost
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState

LEASE_SECONDS = 120.0
"""A library that is loaded may keep all threads of a worker busy for long. Its own supervisor looks more closely."""
RENEW_SECONDS = 20.0


@dataclass(frozen=True)
class Lease:
    """One claim of one job."""

    job_id: int
    owner: str
    token: int

    def __str__(self) -> str:
        return f"{self.owner}, claim {self.token}"


def lease_of(job: Job) -> Lease:
    """The lease of a job that was just claimed."""
    assert job.lease_owner is not None
    return Lease(job.id, job.lease_owner, job.lease_token)


def new_owner(name: str, host: str) -> str:
    """A worker's name for its leases, another one at every start: `worker-0@ct-host/4711-9f3a1c`."""
    return f"{owner_prefix(name, host, os.getpid())}{secrets.token_hex(3)}"


def owner_prefix(name: str, host: str, pid: int) -> str:
    """What its supervisor knows of that name."""
    return f"{name}@{host}/{pid}-"


def is_of_host(owner: str, host: str | None) -> bool:
    """Whether a worker is of this host. With None every one is: the ledger is this machine's alone."""
    return host is None or owner.partition("@")[2].partition("/")[0] == host


def of_host(host: str | None) -> ColumnElement[bool]:
    """The same as a condition on jobs."""
    return true() if host is None else Job.lease_owner.contains(f"@{host}/", autoescape=True)


def held_by(lease: Lease) -> ColumnElement[bool]:
    """That the job still has this lease. Its time may have run out: as long as nobody took the job up, it holds."""
    return and_(Job.lease_owner == lease.owner, Job.lease_token == lease.token)


def database_time(session: Session, at: float | None = None) -> ColumnElement[float]:
    """`at`, or this moment by the database's clock, in seconds since 1970. Clocks of hosts may differ by minutes."""
    if at is None and session.get_bind().dialect.name == "postgresql":
        return func.extract("epoch", func.clock_timestamp()).cast(Job.lease_until.type)
    return literal(or_now(at))


def database_moment(session: Session) -> float:
    """This moment by the database's clock, in seconds since 1970."""
    return float(session.scalars(select(database_time(session))).one())


def ledger_moment(session: Session, at: float | None = None) -> float:
    """`at`, or this moment as all that share the ledger count it. With a file that is the clock of the one machine."""
    told = at is not None or session.get_bind().dialect.name != "postgresql"
    return or_now(at) if told else database_moment(session)


def renew(session: Session, lease: Lease, *, at: float | None = None, **values: object) -> None:
    """Extend a RUNNING job's lease, and set further columns. Raises LeaseLost if it is another's, or at an end."""
    until = database_time(session, at) + LEASE_SECONDS
    running = update(Job).where(Job.id == lease.job_id, Job.state == JobState.RUNNING, held_by(lease))
    if session.connection().execute(running.values(lease_until=until, **values)).rowcount == 0:
        raise LeaseLost(f"job {lease.job_id} is no longer leased to {lease}")
