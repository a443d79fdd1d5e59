"""How a running job tells the ledger that it goes on, and learns there that it was taken away or must make way."""

import time

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import MadeWay
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.logs import log

BEAT_SECONDS = 1.0


class Heartbeat:
    """Reports a job's stage to the ledger, at most once a second within one stage.

    Args:
        yields: whether it makes way as soon as another job waits.
    """

    def __init__(self, engine: Engine, lease: Lease, *, yields: bool = False) -> None:
        self.engine = engine
        self.lease = lease
        self.yields = yields
        self.stage = ""
        self.at = float("-inf")

    def __call__(self, stage: str) -> None:
        """Raises LeaseLost if the job was taken away, MadeWay if it yields and another one waits.

        A ledger that is busy costs a beat, not the job.
        """
        if stage == self.stage and time.monotonic() - self.at < BEAT_SECONDS:
            return
        self.stage, self.at = stage, time.monotonic()
        try:
            with writing(self.engine) as session:
                jobs.heartbeat(session, self.lease, stage)
                wanted = self.yields and jobs.somebody_waits(session)
        except SQLAlchemyError as error:
            log().warning("a heartbeat could not be written", job=self.lease.job_id, exc_info=error)
            return
        if wanted:
            raise MadeWay(f"job {self.lease.job_id} makes way")
