"""What becomes of a job that has no result, and writing that waits for a full disk or a busy ledger."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import HostAway, LeaseLost, StorageError, StorageFull
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.logs import describe, log
from rtseg_daemon.work.desk import Desk

PATIENCE_SECONDS = 300.0
"""How long a finished result waits for a full disk or a busy ledger. Then a full disk puts the job off, and a busy
ledger ends the worker."""


def settle(job_id: int, do_write: Callable[[], None], patience: float | None = None) -> bool:
    """Do a write, again and again while the disk is full or the ledger busy: the result is worth the wait.

    False where the job was taken away, and nothing was written. After `patience` seconds (PATIENCE_SECONDS) it raises
    what hinders it, StorageFull for a disk.
    """
    deadline = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
    while True:
        try:
            do_write()
            return True
        except LeaseLost:
            log().warning("the job was taken away; its result is dropped", job=job_id)
            return False
        except (SQLAlchemyError, OSError, HostAway, StorageError) as error:
            if time.monotonic() > deadline:
                if isinstance(error, OSError):
                    raise StorageFull(
                        f"the result cannot be written ({error.strerror}); make room on the disk"
                    ) from error
                raise
            log().error("the result cannot be written now; trying again", job=job_id, exc_info=error)
            time.sleep(1.0)


def note(desk: Desk, job_id: int, what: str, detail: dict[str, Any]) -> None:
    """A line in the log and in the job's events."""

    def write_event() -> None:
        with writing(desk.engine) as session:
            record_event(session, "job", job_id, what, detail=detail, who=desk.owner)

    log().warning(what, job=job_id, **detail)
    settle(job_id, write_event)


def hold(desk: Desk, lease: Lease, reason: str, *, releasable: bool) -> None:
    """HELD without a result."""

    def write_hold() -> None:
        with writing(desk.engine) as session:
            jobs.hold(session, lease.job_id, reason, releasable=releasable, lease=lease)
        log().info("job held", job=lease.job_id)

    settle(lease.job_id, write_hold)


def make_way(desk: Desk, lease: Lease) -> None:
    """QUEUED again, for a shadow's job that another one must not wait for."""

    def write_way() -> None:
        with writing(desk.engine) as session:
            jobs.make_way(session, lease)
        log().info("a shadow's job made way", job=lease.job_id)

    settle(lease.job_id, write_way)


def put_off(desk: Desk, lease: Lease, reason: str) -> None:
    """QUEUED again, and not at once: the ledger, a host whose files it needs, or room on a disk is not there now."""

    def write_back() -> None:
        with writing(desk.engine) as session:
            jobs.put_off(session, lease, reason)
        log().warning("job put off", job=lease.job_id, reason=reason)

    settle(lease.job_id, write_back)


def fail(desk: Desk, lease: Lease, reason: str) -> None:
    """FAILED, with the reason for whoever looks at it."""

    def write_failure() -> None:
        with writing(desk.engine) as session:
            jobs.fail(session, lease.job_id, reason, lease=lease)
        log().error("job failed", job=lease.job_id)

    settle(lease.job_id, write_failure)


def break_off(desk: Desk, lease: Lease, error: Exception) -> None:
    """FAILED by what nobody foresaw, told without data."""
    log().error("a job broke", job=lease.job_id, exc_info=error)
    fail(desk, lease, f"an error that nobody foresaw: {describe(error)}; report it, then retry the job")
