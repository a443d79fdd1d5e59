"""A lease is extended while its job runs, and no longer."""

import threading
import time

from sqlalchemy import Engine

from rtseg_daemon.ledger import jobs, orphans
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.leases import Lease, lease_of
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.work.kept_lease import kept
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival
from tests.world import wait_for

EVERY = 0.05


def claimed(ledger: Engine) -> Lease:
    with writing(ledger) as session:
        jobs.create_job(session, receive(session, arrival()).series_id, 1, "tiny", "all")
        job = jobs.claim_job(session, "w", at=1000.0)
        assert job is not None
        return lease_of(job)


def until(ledger: Engine, lease: Lease) -> float | None:
    with reading(ledger) as session:
        return session.get_one(Job, lease.job_id).lease_until


def test_a_step_that_shows_no_progress_keeps_its_lease_and_the_beats_stand_still(ledger: Engine) -> None:
    lease = claimed(ledger)
    with kept(ledger, lease, EVERY):
        wait_for(lambda: (until(ledger, lease) or 0.0) > time.time(), 20)
    after = until(ledger, lease)
    time.sleep(4 * EVERY)
    assert until(ledger, lease) == after
    with reading(ledger) as session:
        assert session.get_one(Job, lease.job_id).beats == 0, "the supervisor still finds a job that hangs"


def test_a_lease_that_was_lost_is_not_extended_and_no_thread_stays(ledger: Engine) -> None:
    lease = claimed(ledger)
    with kept(ledger, lease, EVERY):
        with writing(ledger) as session:
            orphans.worker_lost(session, "w", "hung", 3)
        wait_for(lambda: not any(thread.name == "lease" for thread in threading.enumerate()), 20)
        assert until(ledger, lease) is None
