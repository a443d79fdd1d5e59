"""The life of a job in the ledger."""

import threading

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.errors import LeaseLost, StateError
from rtseg_daemon.ledger import decisions, deliveries, jobs, views
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.reception import Arrival, hold_series, last_instance_id, record_instances
from rtseg_daemon.ledger.schema import Alarm, Delivery, Job
from rtseg_daemon.ledger.states import JOB_TRANSITIONS, DeliveryState, InstanceState, JobState

OUTCOME = jobs.Outcome(bundle_digest="d" * 64, verdicts=[], rtstruct_path="results/1/RTSTRUCT.dcm")


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
        (recorded,) = record_instances(session, [arrival()])
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
        jobs.finish_segmentation(session, job_id, "w1", OUTCOME, ["tps"])
    with reading(ledger) as session:
        steps = [(event.from_state, event.to_state) for event in events_of(session, "job", job_id)]
    assert steps == [(None, "QUEUED"), ("QUEUED", "RUNNING"), ("RUNNING", "SEGMENTED")]


@pytest.mark.parametrize("state", list(JobState))
def test_a_state_that_the_table_does_not_allow_is_refused(ledger: Engine, state: JobState) -> None:
    job_id = new_job(ledger)
    allowed = JOB_TRANSITIONS[JobState.QUEUED]
    if state in allowed:
        with writing(ledger) as session:
            assert jobs.move_job(session, job_id, state, what="test").state is state
        return
    with writing(ledger) as session, pytest.raises(StateError, match="is QUEUED and cannot become"):
        jobs.move_job(session, job_id, state, what="test")
    assert state_of(ledger, job_id) is JobState.QUEUED


def test_a_worker_whose_job_was_cancelled_cannot_finish_it(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.cancel(session, job_id, "anna")
    with writing(ledger) as session, pytest.raises(LeaseLost):
        jobs.heartbeat(session, job_id, "w1", "infer")
    with writing(ledger) as session, pytest.raises(LeaseLost):
        jobs.finish_segmentation(session, job_id, "w1", OUTCOME, ["tps"])


def test_a_poison_job_fails_after_max_attempts_and_keeps_the_reason(ledger: Engine) -> None:
    job_id = new_job(ledger)
    for attempt in range(1, 4):
        assert claim(ledger, f"w{attempt}") is not None
        with writing(ledger) as session:
            jobs.worker_lost(session, f"w{attempt}", "the worker was killed by signal 9", 3)
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
        assert jobs.requeue_all_running(session) == 1
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
        jobs.hold(session, job_id, "slices missing", owner="w1")
        job = decisions.release(session, job_id, "anna", "looked at it", ["tps"])
        assert (job.state, job.released_by) == (JobState.QUEUED, "anna")


def test_a_held_job_with_result_is_released_to_its_destinations(ledger: Engine) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.hold(session, job_id, "sides swapped", owner="w1", outcome=OUTCOME)
        decisions.release(session, job_id, "anna", "looked at it", ["tps"])
        job = session.get_one(Job, job_id)
        assert job.state is JobState.SEGMENTED
        assert [d.destination for d in job.deliveries] == ["tps"]
        assert events_of(session, "job", job_id)[-1].detail == {"why": "looked at it"}


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
        job = jobs.finish_segmentation(session, job_id, "w1", OUTCOME, ["tps"])
        jobs.move_job(session, job_id, JobState.DELIVERING, what="sending")
        job.deliveries[0].state = DeliveryState.FAILED
        session.flush()
        jobs.move_job(session, job_id, JobState.FAILED, what="failed")
        assert decisions.retry(session, job_id, "anna").state is JobState.DELIVERING
    with reading(ledger) as session:
        assert session.query(Delivery).one().state is DeliveryState.WAITING


def test_a_rerun_is_the_next_run_of_the_same_slices(ledger: Engine) -> None:
    job_id = new_job(ledger)
    with writing(ledger) as session:
        again = decisions.rerun(session, job_id, "anna", no_send=True)
        other = decisions.rerun(session, job_id, "anna", bundle="gtv")
        assert (again.run, again.no_send, again.state) == (2, True, JobState.QUEUED)
        assert (other.run, other.bundle) == (1, "gtv")


def test_a_newer_job_cancels_the_undelivered_one_and_alarms_about_the_delivered_one(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        record_instances(session, [arrival(2)])
        series = session.get_one(Job, first).series_id
        second = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
        assert jobs.supersede(session, series, "han-oar", by=second) == first
    assert state_of(ledger, first) is JobState.CANCELLED
    claim(ledger)
    with writing(ledger) as session:
        jobs.finish_segmentation(session, second, "w1", OUTCOME, ["tps"])
        jobs.move_job(session, second, JobState.DELIVERING, what="sending")
        jobs.move_job(session, second, JobState.DELIVERED, what="delivered")
        record_instances(session, [arrival(3)])
        third = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
        jobs.supersede(session, series, "han-oar", by=third)
        assert [alarm.kind for alarm in session.query(Alarm)] == ["superseded"]


def newer_job(session: Session, first: int, number: int) -> int:
    """A job of the same series with one slice more, as the sweep makes it."""
    record_instances(session, [arrival(number)])
    series = session.get_one(Job, first).series_id
    newer = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
    jobs.supersede(session, series, "han-oar", by=newer)
    return newer


def job_on_the_wire(ledger: Engine) -> tuple[int, int]:
    """A job whose one delivery is SENDING, and that delivery."""
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        delivery = jobs.finish_segmentation(session, job_id, "w1", OUTCOME, ["a"]).deliveries[0].id
        deliveries.begin_delivery(session, delivery)
    return job_id, delivery


def refused_by_every_command(session: Session, job_id: int, delivery_id: int, why: str) -> None:
    """Whatever a person may do to have a job's result sent is refused for this reason."""
    for act in (
        lambda: decisions.retry(session, job_id, "anna"),
        lambda: deliveries.retry_delivery(session, delivery_id, "anna"),
        lambda: decisions.rerun(session, job_id, "anna"),
    ):
        with pytest.raises(StateError, match=why):
            act()


def test_a_failed_job_is_cancelled_by_a_newer_one_and_cannot_be_sent_any_more(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.fail(session, first, "no engine", owner="w1")
        newer_job(session, first, 2)
    assert state_of(ledger, first) is JobState.CANCELLED


def test_what_a_newer_job_supersedes_is_neither_retried_nor_run_again_to_be_sent(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, first, "w1", OUTCOME, ["a", "b"])
        for delivery, fate in zip(job.deliveries, ("sent", "refused"), strict=True):
            deliveries.begin_delivery(session, delivery.id)
            if fate == "sent":
                deliveries.record_sent(session, delivery.id, 0, None)
            else:
                deliveries.record_failed(session, delivery.id, 0xA900, "DOE^JOHN unknown", "0xA900 refused")
        second = newer_job(session, first, 2)
        told = [alarm.message for alarm in session.query(Alarm)]
        assert any("already been sent" in message for message in told)
        assert not any("DOE" in message for message in told)
    assert state_of(ledger, first) is JobState.FAILED
    with writing(ledger) as session:
        failed = session.get_one(Job, first).deliveries[1].id
        refused_by_every_command(session, first, failed, f"job {second} has them")
        assert decisions.rerun(session, first, "anna", no_send=True).no_send


def test_a_held_job_that_a_newer_one_supersedes_is_not_released(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, first, "w1", OUTCOME, ["a", "b"])
        deliveries.begin_delivery(session, job.deliveries[0].id)
        deliveries.record_sent(session, job.deliveries[0].id, 0, None)
        jobs.hold_undelivered(session, job.series_id, "new slices", releasable=True)
        newer_job(session, first, 2)
    assert state_of(ledger, first) is JobState.CANCELLED
    with writing(ledger) as session, pytest.raises(StateError, match="only a HELD job can be released"):
        decisions.release(session, first, "anna", "looked", ["a", "b"])


def test_a_superseded_structure_set_goes_to_no_further_destination(ledger: Engine) -> None:
    """One destination has it, the other was down when the late slice came."""
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, first, "w1", OUTCOME, ["a", "b"])
        deliveries.begin_delivery(session, job.deliveries[0].id)
        deliveries.record_sent(session, job.deliveries[0].id, 0, None)
        newer_job(session, first, 2)
        assert not deliveries.due_deliveries(session, "b", 1e12, 60.0)
        assert [one.state for one in job.deliveries] == [DeliveryState.SENT, DeliveryState.CANCELLED]
        assert "already been sent" in session.query(Alarm).one().message
    assert state_of(ledger, first) is JobState.CANCELLED


def test_a_job_of_which_nothing_was_ever_sent_fails_when_its_only_destination_is_gone(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, first, "w1", OUTCOME, ["gone"])
        deliveries.record_failed(session, job.deliveries[0].id, None, "not configured", "not configured")
    assert state_of(ledger, first) is JobState.FAILED
    with writing(ledger) as session:
        assert decisions.retry(session, first, "anna").state is JobState.DELIVERING


def test_a_release_sends_again_what_was_refused_while_the_job_was_held(ledger: Engine) -> None:
    job_id, delivery = job_on_the_wire(ledger)
    with writing(ledger) as session:
        jobs.hold_undelivered(session, session.get_one(Job, job_id).series_id, "new slices", releasable=True)
        deliveries.record_failed(session, delivery, 0xA900, "refused", "refused")
        decisions.release(session, job_id, "anna", "looked", ["a"])
        assert [one.id for one in deliveries.due_deliveries(session, "a", 1e12, 60.0)] == [delivery]


def test_nothing_is_sent_while_newer_slices_wait_for_the_sweep(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        delivery = jobs.finish_segmentation(session, first, "w1", OUTCOME, ["a"]).deliveries[0]
        assert deliveries.due_deliveries(session, "a", 1e9, 60) == [delivery]
        record_instances(session, [arrival(2)])
        assert deliveries.due_deliveries(session, "a", 1e9, 60) == []
        with pytest.raises(StateError, match="lacks slices"), session.begin_nested():
            deliveries.begin_delivery(session, delivery.id)


def test_a_structure_set_on_the_wire_raises_the_alarm_too(ledger: Engine) -> None:
    first, _ = job_on_the_wire(ledger)
    with writing(ledger) as session:
        newer_job(session, first, 2)
        assert [alarm.kind for alarm in session.query(Alarm)] == ["superseded"]


def test_nothing_of_a_series_in_doubt_is_sent_by_any_way(ledger: Engine) -> None:
    first, failed = job_on_the_wire(ledger)
    with writing(ledger) as session:
        deliveries.record_failed(session, failed, 0xA900, "refused", "refused")
        hold_series(session, session.get_one(Job, first).series_id, ["two patients"], releasable=False)
    with writing(ledger) as session:
        refused_by_every_command(session, first, failed, "nothing may be sent: two patients")


def test_a_job_released_while_it_is_on_the_wire_is_delivered_when_it_arrives(ledger: Engine) -> None:
    first, delivery = job_on_the_wire(ledger)
    with writing(ledger) as session:
        jobs.hold_undelivered(session, session.get_one(Job, first).series_id, "new slices", releasable=True)
        decisions.release(session, first, "anna", "looked", ["a"])
        deliveries.record_sent(session, delivery, 0, None)
    assert state_of(ledger, first) is JobState.DELIVERED


def test_slices_that_come_later_end_jobs_of_every_bundle(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        other = decisions.rerun(session, first, "anna", bundle="gtv").id
        jobs.hold_undelivered(session, session.get_one(Job, first).series_id, "new slices", releasable=True)
        newer = newer_job(session, first, 2)
    assert state_of(ledger, other) is JobState.CANCELLED
    with (
        writing(ledger) as session,
        pytest.raises(StateError, match=f"job {newer} has them, rerun that one with --bundle gtv"),
    ):
        decisions.rerun(session, other, "anna")


def test_a_second_reason_to_hold_hides_no_first_one(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        jobs.hold(session, first, "Parotid_L lies on the wrong side of Parotid_R")
        for _ in range(2):
            jobs.hold_undelivered(
                session, session.get_one(Job, first).series_id, "an image was refused", releasable=True
            )
        job = session.get_one(Job, first)
        assert job.error == "Parotid_L lies on the wrong side of Parotid_R; an image was refused"


def test_a_job_whose_images_are_gone_is_not_run_again(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        for instance in session.get_one(Job, first).series.instances:
            instance.state = InstanceState.REMOVED
        with pytest.raises(StateError, match="were removed; fetch the study again"):
            decisions.rerun(session, first, "anna")


def test_a_job_that_goes_nowhere_waits_for_nothing(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.finish_segmentation(session, first, "w1", OUTCOME, [])
        assert views.status_shape(session, 1e9, None, [])["oldest_waiting_seconds"] is None
        new = decisions.rerun(session, first, "anna")
        new.created_at = 1e9 - 5
        session.flush()
        assert views.status_shape(session, 1e9, None, [])["oldest_waiting_seconds"] == 5
