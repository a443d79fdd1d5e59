"""What people decide, as commands, pages and REST do it."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import AlreadyDecided, BundleError, StateError
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of, raise_alarm
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import deciding
from rtseg_daemon.upkeep.deciding import Desk
from tests.unit.upkeep.test_housekeeping import stored_job, stored_series


@pytest.fixture
def anna(ledger: Engine, config: Config) -> Desk:
    return Desk(ledger, config, "anna")


@pytest.fixture
def bernd(ledger: Engine, config: Config) -> Desk:
    return Desk(ledger, config, "bernd")


@pytest.fixture
def job(ledger: Engine, layout: Layout) -> int:
    """A SEGMENTED job of the tiny bundle."""
    return stored_job(ledger, layout, stored_series(ledger, layout))


def seen(desk: Desk) -> int:
    with reading(desk.engine) as session:
        return newest_event(session)


def test_two_who_cancel_at_once_cancel_it_once_and_the_second_learns_who_was_first(
    anna: Desk, bernd: Desk, job: int
) -> None:
    as_of = seen(anna)
    assert deciding.cancel(anna, job, "sent twice", as_of=as_of)["state"] == "CANCELLED"
    with pytest.raises(AlreadyDecided, match="anna was first"):
        deciding.cancel(bernd, job, "wrong patient", as_of=as_of)
    with reading(anna.engine) as session:
        assert [event.who for event in events_of(session, "job", job) if event.what == "cancelled"] == ["anna"]


def test_a_form_that_is_sent_twice_runs_a_job_again_once(anna: Desk, job: int) -> None:
    as_of = seen(anna)
    deciding.rerun(anna, job, as_of=as_of)
    with pytest.raises(AlreadyDecided, match="anna ran job"):
        deciding.rerun(anna, job, as_of=as_of)


def test_a_rerun_with_a_bundle_that_is_not_there_makes_no_job(anna: Desk, job: int) -> None:
    as_of = seen(anna)
    with pytest.raises(BundleError, match="no bundle 'nosuch'"):
        deciding.rerun(anna, job, bundle="nosuch")
    assert seen(anna) == as_of


def test_a_release_without_a_reason_is_refused(anna: Desk, job: int) -> None:
    with pytest.raises(ValueError, match="say why"):
        deciding.release(anna, job, "  ")


def test_a_result_that_was_looked_at_has_an_event_of_who_did_and_what_was_said(anna: Desk, job: int) -> None:
    deciding.review(anna, job, "drawn by hand")
    with reading(anna.engine) as session:
        last = events_of(session, "job", job)[-1]
    assert (last.what, last.who, last.detail) == ("reviewed", "anna", {"why": "drawn by hand"})


def test_a_failed_job_is_taken_up_again_and_another_one_is_not(anna: Desk, job: int) -> None:
    with pytest.raises(StateError, match="only a FAILED job"):
        deciding.retry(anna, job)
    with writing(anna.engine) as session:
        jobs.fail(session, job, "refused")
    assert deciding.retry(anna, job)["state"] == "DELIVERING"


def test_the_second_to_acknowledge_an_alarm_is_told_who_did(anna: Desk, bernd: Desk) -> None:
    with writing(anna.engine) as session:
        raise_alarm(session, "late", "late:1", "contours are late")
    assert deciding.acknowledge(anna, 1, "called")["acknowledged_by"] == "anna"
    with pytest.raises(AlreadyDecided, match="acknowledged by anna"):
        deciding.acknowledge(bernd, 1)
