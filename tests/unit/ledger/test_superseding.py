"""What newer slices, holds and people do to a job that is on its way to its destinations."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger import decisions, deliveries, jobs, moves, superseding, views
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.recognition import Repeat
from rtseg_daemon.ledger.schema import Alarm, Instance, Job
from rtseg_daemon.ledger.series import hold_series, last_instance_id
from rtseg_daemon.ledger.states import DeliveryState, InstanceState, JobState
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import MARKED, OUTCOME, arrival, claim, new_job, state_of


def test_a_newer_job_cancels_the_undelivered_one_and_alarms_about_the_delivered_one(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        receive(session, arrival(2))
        series = session.get_one(Job, first).series_id
        second = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
        assert superseding.supersede(session, series, "han-oar", by=second) == first
    assert state_of(ledger, first) is JobState.CANCELLED
    claim(ledger)
    with writing(ledger) as session:
        jobs.finish_segmentation(session, Lease(second, "w1", 1), OUTCOME, ["tps"])
        moves.move_job(session, second, JobState.DELIVERING, what="sending")
        moves.move_job(session, second, JobState.DELIVERED, what="delivered")
        receive(session, arrival(3))
        third = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
        superseding.supersede(session, series, "han-oar", by=third)
        assert [alarm.kind for alarm in session.query(Alarm)] == ["superseded"]


def newer_job(session: Session, first: int, number: int) -> int:
    """A job of the same series with one slice more, as the sweep makes it."""
    receive(session, arrival(number))
    series = session.get_one(Job, first).series_id
    newer = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
    superseding.supersede(session, series, "han-oar", by=newer)
    return newer


def job_on_the_wire(ledger: Engine) -> tuple[int, int]:
    """A job whose one delivery is SENDING, and that delivery."""
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        delivery = jobs.finish_segmentation(session, Lease(job_id, "w1", 1), OUTCOME, ["a"]).deliveries[0].id
        deliveries.begin_delivery(session, delivery)
    return job_id, delivery


def job_partly_sent(ledger: Engine) -> int:
    """A job whose structure set one of two destinations, a and b, has."""
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        delivery = jobs.finish_segmentation(session, Lease(job_id, "w1", 1), OUTCOME, ["a", "b"]).deliveries[0].id
        deliveries.begin_delivery(session, delivery)
        deliveries.record_sent(session, delivery, 0, None)
    return job_id


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
        jobs.fail(session, first, "no engine", lease=Lease(first, "w1", 1))
        newer_job(session, first, 2)
    assert state_of(ledger, first) is JobState.CANCELLED


def test_what_a_newer_job_supersedes_is_neither_retried_nor_run_again_to_be_sent(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, Lease(first, "w1", 1), OUTCOME, ["a", "b"])
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
    first = job_partly_sent(ledger)
    with writing(ledger) as session:
        job = session.get_one(Job, first)
        jobs.hold_undelivered(session, job.series_id, "new slices", releasable=True)
        newer_job(session, first, 2)
    assert state_of(ledger, first) is JobState.CANCELLED
    with writing(ledger) as session, pytest.raises(StateError, match="only a HELD job can be released"):
        decisions.release(session, first, "anna", "looked", ["a", "b"])


def test_a_superseded_structure_set_goes_to_no_further_destination(ledger: Engine) -> None:
    """One destination has it, the other was down when the late slice came."""
    first = job_partly_sent(ledger)
    with writing(ledger) as session:
        job = session.get_one(Job, first)
        newer_job(session, first, 2)
        assert not deliveries.due_deliveries(session, "b", 1e12, 60.0)
        assert [one.state for one in job.deliveries] == [DeliveryState.SENT, DeliveryState.CANCELLED]
        assert "already been sent to " in session.query(Alarm).one().message
    assert state_of(ledger, first) is JobState.CANCELLED


def test_a_job_of_which_nothing_was_ever_sent_fails_when_its_only_destination_is_gone(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, Lease(first, "w1", 1), OUTCOME, ["gone"])
        deliveries.record_failed(session, job.deliveries[0].id, None, "not configured", "not configured")
    assert state_of(ledger, first) is JobState.FAILED
    with writing(ledger) as session:
        assert decisions.retry(session, first, "anna").state is JobState.DELIVERING


def test_a_release_sends_again_what_was_refused_while_the_job_was_held(ledger: Engine) -> None:
    job_id, delivery = job_on_the_wire(ledger)
    with writing(ledger) as session:
        jobs.hold_undelivered(session, session.get_one(Job, job_id).series_id, "new slices", releasable=True)
        deliveries.record_failed(session, delivery, 0xA900, "refused", "refused")
        decisions.release(session, job_id, "anna", "looked", ["a"], marked=MARKED)
        assert [one.id for one in deliveries.due_deliveries(session, "a", 1e12, 60.0)] == [delivery]


def test_nothing_is_sent_while_newer_slices_wait_for_the_sweep(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        delivery = jobs.finish_segmentation(session, Lease(first, "w1", 1), OUTCOME, ["a"]).deliveries[0]
        assert deliveries.due_deliveries(session, "a", 1e9, 60) == [delivery]
        receive(session, arrival(2))
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
        decisions.release(session, first, "anna", "looked", ["a"], marked=MARKED)
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


def test_a_job_of_which_one_host_has_removed_its_images_is_not_run_again_until_they_came_again(ledger: Engine) -> None:
    """Each host removes its own, at an hour of its own."""
    with writing(ledger) as session:
        for number in range(4):
            series = receive(session, arrival(number, host="north" if number < 2 else "south")).series_id
        quarantined = receive(session, arrival(3, sha256="e" * 64, geometry_sha256="another place"))
        assert quarantined.repeat is Repeat.CONTENT_DIFFERS
        first = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
        assert decisions.rerun(session, first, "anna", no_send=True).run == 2
        session.query(Instance).filter_by(host="north").update({"state": InstanceState.REMOVED})
    with (
        writing(ledger) as session,
        pytest.raises(StateError, match=r"some of the images of job 1 were removed.*fetch"),
    ):
        decisions.rerun(session, first, "anna", no_send=True)
    with writing(ledger) as session:
        for number in range(2):
            receive(session, arrival(number, host="south"))
        second = jobs.create_job(session, series, last_instance_id(session, series), "han-oar", "all").id
        assert decisions.rerun(session, second, "anna", no_send=True).run == 2
    with writing(ledger) as session, pytest.raises(StateError, match=r"some of the images of job 1 were removed"):
        decisions.rerun(session, first, "anna", no_send=True)


def test_a_job_that_goes_nowhere_waits_for_nothing(ledger: Engine) -> None:
    first = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        jobs.finish_segmentation(session, Lease(first, "w1", 1), OUTCOME, [])
        assert views.status_shape(session, 1e9, None, [])["oldest_waiting_seconds"] is None
        new = decisions.rerun(session, first, "anna")
        new.created_at = 1e9 - 5
        session.flush()
        assert views.status_shape(session, 1e9, None, [])["oldest_waiting_seconds"] == 5


def stored(session: Session, job_id: int, uid: str) -> None:
    session.get_one(Job, job_id).rtstruct_sop_instance_uid = uid


def test_the_predecessor_is_the_newest_stored_result_that_a_job_supersedes(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        assert superseding.predecessor(session, session.get_one(Job, first)) is None
        second = decisions.rerun(session, first, "anna")
        assert second.supersedes_id == first
        assert superseding.predecessor(session, second) is None  # nothing of the first was ever written
        stored(session, first, "1.2.3")
        assert superseding.predecessor(session, second) == "1.2.3"
        third = decisions.rerun(session, second.id, "anna")
        assert superseding.predecessor(session, third) == "1.2.3"
        stored(session, second.id, "1.2.4")
        assert superseding.predecessor(session, third) == "1.2.4"


def test_a_rerun_for_nobody_or_by_another_bundle_supersedes_nothing(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        stored(session, first, "1.2.3")
        for again in (
            decisions.rerun(session, first, "anna", no_send=True),
            decisions.rerun(session, first, "anna", bundle="gtv"),
        ):
            assert again.supersedes_id is None
            assert superseding.predecessor(session, again) is None
