"""The life of a job in the ledger."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import LeaseLost, StateError
from rtseg_daemon.ledger import decisions, deliveries, jobs, moves, orphans
from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Delivery, Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JOB_TRANSITIONS, DeliveryState, JobState
from tests.arrivals import receive

OUTCOME = jobs.Outcome(
    bundle_digest="d" * 64, verdicts=[], rtstruct_path="results/1/RTSTRUCT.dcm", rtstruct_sha256="e" * 64
)
MARKED = decisions.Marked("e" * 64, "results/1/RTSTRUCT-released.dcm", "e" * 64, "2.25.1", [], {})
"""OUTCOME's structure set with the note of its release; its digest is the same, so that it can be released again."""


def arrival(number: int = 1, **changes: object) -> Arrival:
    values: dict[str, object] = {
        "association_id": None,
        "sop_instance_uid": f"1.2.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "series_instance_uid": "1.3.1",
        "study_instance_uid": "1.4.1",
        "patient_id": "P",
        "modality": "CT",
        "calling_ae": "PACS",
        "calling_host": "127.0.0.1",
        "path": f"series/aa/{number}.dcm",
        "sha256": f"{number:064x}",
        "size": 10,
        "received_at": 1000.0 + number,
        "identity_sha256": "i",
        "geometry_sha256": f"g{number}",
        "pixel_sha256": f"p{number}",
    }
    return Arrival(**(values | changes))  # type: ignore[arg-type]


def new_job(ledger: Engine, **options: object) -> int:
    with writing(ledger) as session:
        recorded = receive(session, arrival())
        last = last_instance_id(session, recorded.series_id)
        return jobs.create_job(session, recorded.series_id, last, "han-oar", "all", **options).id  # type: ignore[arg-type]


def state_of(ledger: Engine, job_id: int) -> JobState:
    with reading(ledger) as session:
        return session.get_one(Job, job_id).state


def claim(ledger: Engine, owner: str = "w1") -> Job | None:
    with writing(ledger) as session:
        return jobs.claim_job(session, owner)


def test_a_job_made_twice_for_the_same_slices_is_one_job(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        job = session.get_one(Job, first)
        assert jobs.create_job(session, job.series_id, job.last_instance_id, "han-oar", "all").id == first


def test_every_transition_leaves_an_event(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.finish_segmentation(session, Lease(job_id, "w1", 1), OUTCOME, ["tps"])
    with reading(ledger) as session:
        steps = [(event.from_state, event.to_state) for event in events_of(session, "job", job_id)]
    assert steps == [(None, "QUEUED"), ("QUEUED", "RUNNING"), ("RUNNING", "SEGMENTED")]


@pytest.mark.parametrize("state", list(JobState))
def test_a_state_that_the_table_does_not_allow_is_refused(ledger: Engine, state: JobState) -> None:
    job_id = new_job(ledger)
    allowed = JOB_TRANSITIONS[JobState.QUEUED]
    if state in allowed:
        with writing(ledger) as session:
            assert moves.move_job(session, job_id, state, what="test").state is state
        return
    with writing(ledger) as session, pytest.raises(StateError, match="is QUEUED and cannot become"):
        moves.move_job(session, job_id, state, what="test")
    assert state_of(ledger, job_id) is JobState.QUEUED


def test_a_worker_whose_job_was_cancelled_cannot_finish_it(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.cancel(session, job_id, "anna")
    with writing(ledger) as session, pytest.raises(LeaseLost):
        jobs.heartbeat(session, Lease(job_id, "w1", 1), "infer")
    with writing(ledger) as session, pytest.raises(LeaseLost):
        jobs.finish_segmentation(session, Lease(job_id, "w1", 1), OUTCOME, ["tps"])


def test_a_poison_job_fails_after_max_attempts_and_keeps_the_reason(ledger: Engine) -> None:
    job_id = new_job(ledger)
    for attempt in range(1, 4):
        assert claim(ledger, f"w{attempt}") is not None
        with writing(ledger) as session:
            orphans.worker_lost(session, f"w{attempt}", "the worker was killed by signal 9", 3)
    with reading(ledger) as session:
        job = session.get_one(Job, job_id)
    assert job.state is JobState.FAILED
    assert job.attempts == 3
    assert job.error is not None
    assert "signal 9 (attempt 3 of 3" in job.error


def test_a_restart_of_the_daemon_costs_no_attempt(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        assert orphans.requeue_own(session, None) == 1
    with reading(ledger) as session:
        job = session.get_one(Job, job_id)
        assert (job.state, job.attempts, job.lease_owner) == (JobState.QUEUED, 0, None)


def test_two_workers_never_claim_the_same_job(ledger: Engine) -> None:
    job_id = new_job(ledger)
    barrier = threading.Barrier(4)
    won: list[int] = []

    def work(name: str) -> None:
        engine = open_ledger(str(ledger.url))
        barrier.wait()
        with writing(engine) as session:
            job = jobs.claim_job(session, name)
        if job is not None:
            won.append(job.id)
        engine.dispose()

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [job_id]


def test_a_held_job_without_result_is_released_to_the_queue(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.hold(session, job_id, "slices missing", lease=Lease(job_id, "w1", 1))
        job = decisions.release(session, job_id, "anna", "looked at it", ["tps"])
        assert (job.state, job.released_by) == (JobState.QUEUED, "anna")


def test_a_held_job_with_result_is_released_to_its_destinations(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.hold(session, job_id, "sides swapped", lease=Lease(job_id, "w1", 1), outcome=OUTCOME)
        decisions.release(session, job_id, "anna", "looked at it", ["tps"], marked=MARKED)
        job = session.get_one(Job, job_id)
        assert (job.rtstruct_path, job.rtstruct_sop_instance_uid) == (MARKED.rtstruct_path, "2.25.1")
        assert job.state is JobState.SEGMENTED
        assert [d.destination for d in job.deliveries] == ["tps"]
        assert events_of(session, "job", job_id)[-1].detail == {"why": "looked at it"}


@pytest.mark.parametrize("marked", [None, replace(MARKED, of="f" * 64)])
def test_a_stored_structure_set_is_not_released_without_its_mark(
    ledger: Engine, marked: decisions.Marked | None
) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.hold(session, job_id, "sides swapped", lease=Lease(job_id, "w1", 1), outcome=OUTCOME)
    with writing(ledger) as session, pytest.raises(StateError, match="look at it and release it again"):
        decisions.release(session, job_id, "anna", "looked at it", ["tps"], marked=marked)
    assert state_of(ledger, job_id) is JobState.HELD


def test_a_job_of_mixed_identity_cannot_be_released(ledger: Engine) -> None:
    job_id = new_job(ledger)
    with writing(ledger) as session:
        jobs.hold(session, job_id, "two patients", releasable=False)
    with writing(ledger) as session, pytest.raises(StateError, match="may not be released: two patients"):
        decisions.release(session, job_id, "anna", "hurry", ["tps"])


def test_retry_of_a_failed_delivery_does_not_infer_again(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, Lease(job_id, "w1", 1), OUTCOME, ["tps"])
        moves.move_job(session, job_id, JobState.DELIVERING, what="sending")
        job.deliveries[0].state = DeliveryState.FAILED
        session.flush()
        moves.move_job(session, job_id, JobState.FAILED, what="failed")
        assert decisions.retry(session, job_id, "anna").state is JobState.DELIVERING
    with reading(ledger) as session:
        assert session.query(Delivery).one().state is DeliveryState.WAITING


def test_a_retry_wakes_no_delivery_that_nobody_would_send(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, Lease(job_id, "w1", 1), OUTCOME, ["tps", "gone"])
        moves.move_job(session, job_id, JobState.DELIVERING, what="sending")
        for delivery in job.deliveries:
            delivery.state = DeliveryState.FAILED
        session.flush()
        moves.move_job(session, job_id, JobState.FAILED, what="failed")
        gone = next(one.id for one in job.deliveries if one.destination == "gone")
    with writing(ledger) as session, pytest.raises(StateError, match="gone, tps, no longer configured"):
        decisions.retry(session, job_id, "anna", configured=["other"])
    with writing(ledger) as session, pytest.raises(StateError, match=f"rtseg-daemon jobs rerun {job_id}"):
        deliveries.retry_delivery(session, gone, "anna", configured=["tps"])
    with writing(ledger) as session:
        decisions.retry(session, job_id, "anna", configured=["tps"])
    with reading(ledger) as session:
        states = {one.destination: one.state for one in session.query(Delivery)}
    assert states == {"tps": DeliveryState.WAITING, "gone": DeliveryState.FAILED}


def test_a_rerun_is_the_next_run_of_the_same_slices(ledger: Engine) -> None:
    job_id = new_job(ledger)
    with writing(ledger) as session:
        again = decisions.rerun(session, job_id, "anna", no_send=True)
        other = decisions.rerun(session, job_id, "anna", bundle="gtv")
        assert (again.run, again.no_send, again.state) == (2, True, JobState.QUEUED)
        assert (other.run, other.bundle) == (1, "gtv")
