"""A running job's lease is extended as long as its worker lives, also through a step that shows no progress."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import LeaseLost
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.leases import RENEW_SECONDS, Lease, renew
from rtseg_daemon.logs import log


@contextmanager
def kept(engine: Engine, lease: Lease, every_seconds: float = RENEW_SECONDS) -> Iterator[None]:
    """Extend the lease from time to time while the block runs. No transaction is open in between."""
    done = threading.Event()
    keeper = threading.Thread(target=keep, args=(engine, lease, done, every_seconds), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def keep(engine: Engine, lease: Lease, done: threading.Event, every_seconds: float) -> None:
    """Until `done`, or until the lease is another's. The job learns that by itself at its next step."""
    while not done.wait(every_seconds):
        try:
            with writing(engine) as session:
                renew(session, lease)
        except LeaseLost:
            return
        except SQLAlchemyError as error:
            log().warning("a lease could not be extended; trying again", job=lease.job_id, exc_info=error)
