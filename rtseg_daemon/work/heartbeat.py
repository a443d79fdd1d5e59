"""How a running job tells the ledger that it goes on, and learns there that it was taken away."""

import time

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.logs import log

BEAT_SECONDS = 1.0


class Heartbeat:
    """Reports a job's stage to the ledger, at most once a second within one stage."""

    def __init__(self, engine: Engine, job_id: int, owner: str) -> None:
        self.engine = engine
        self.job_id = job_id
        self.owner = owner
        self.stage = ""
        self.at = float("-inf")

    def __call__(self, stage: str) -> None:
        """Raises LeaseLost if the job was taken away. A ledger that is busy costs a beat, not the job."""
        if stage == self.stage and time.monotonic() - self.at < BEAT_SECONDS:
            return
        self.stage, self.at = stage, time.monotonic()
        try:
            with writing(self.engine) as session:
                jobs.heartbeat(session, self.job_id, self.owner, stage)
        except SQLAlchemyError as error:
            log().warning("a heartbeat could not be written", job=self.job_id, exc_info=error)
