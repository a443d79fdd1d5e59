"""A running job's lease is extended as long as its worker lives, also through a step that shows no progress."""

from contextlib import AbstractContextManager

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.ledger import kept as renewing
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.leases import RENEW_SECONDS, Lease, renew
from rtseg_daemon.logs import log


def kept(engine: Engine, lease: Lease, every_seconds: float = RENEW_SECONDS) -> AbstractContextManager[None]:
    """Extend the lease from time to time while the block runs. No transaction is open in between."""

    def extend() -> None:
        with writing(engine) as session:
            renew(session, lease)

    def trouble(error: SQLAlchemyError) -> None:
        log().warning("a lease could not be extended; trying again", job=lease.job_id, exc_info=error)

    return renewing.kept(extend, every_seconds, trouble)
