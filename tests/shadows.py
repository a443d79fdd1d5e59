"""A case that was delivered, and the job of a candidate in its shadow."""

from sqlalchemy import Engine

from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.storage import Layout
from tests.unit.upkeep.test_housekeeping import OLD, deliver, stored_job, stored_series

CANDIDATE = "tiny@2.0"
SHADOW_ROIS = [{"name": "Larynx", "flag": "REJECT", "volume_ml": 99.0, "vvc": 0.1, "predicted_dice": 0.2}]


def delivered_case(ledger: Engine, layout: Layout, number: int = 1) -> int:
    """A job that is DELIVERED, of a series of its own."""
    job = stored_job(ledger, layout, stored_series(ledger, layout, number))
    deliver(ledger, job)
    return job


def shadow_job(ledger: Engine, case: int, state: JobState = JobState.QUEUED, *, at: float = OLD) -> int:
    """A candidate's job of the same case, brought to `state` with a rejected organ where it has a result."""
    with writing(ledger) as session:
        served = session.get_one(Job, case)
        job = jobs.create_job(
            session, served.series_id, served.last_instance_id, CANDIDATE, served.route, shadow=True, at=at
        )
        if state is not JobState.QUEUED:
            assert jobs.claim_job(session, "w", at=at) is job, "no other job waits"
        outcome = jobs.Outcome("f" * 64, [], SHADOW_ROIS, {"Larynx": "REJECT"}, rtstruct_path=f"results/{job.id}/R.dcm")
        if state is JobState.SEGMENTED:
            jobs.finish_segmentation(session, Lease(job.id, "w", 1), outcome, ["tps"], at=at)
        elif state is JobState.HELD:
            jobs.hold(
                session, job.id, "left and right may be exchanged", lease=Lease(job.id, "w", 1), outcome=outcome, at=at
            )
        elif state is JobState.FAILED:
            jobs.fail(session, job.id, "no engine", lease=Lease(job.id, "w", 1), at=at)
        assert job.state is state
        return job.id
