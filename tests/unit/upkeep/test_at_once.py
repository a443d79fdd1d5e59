"""HELD, FAILED and UNROUTED are told as soon as they happen, where that was asked for."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Alarm, Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import SeriesState
from rtseg_daemon.upkeep.at_once import raise_new
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

NOW = 1e9


@pytest.fixture
def job(ledger: Engine) -> int:
    with writing(ledger) as session:
        series = receive(session, arrival()).series_id
        return jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all", at=NOW).id


def told(ledger: Engine) -> list[tuple[str, str]]:
    with reading(ledger) as session:
        return [(alarm.kind, alarm.message) for alarm in session.query(Alarm).order_by(Alarm.id)]


def test_a_held_job_is_told_at_once_and_once_where_that_was_asked_for(ledger: Engine, job: int) -> None:
    with writing(ledger) as session:
        jobs.hold(session, job, "two slices are missing", at=NOW)
    assert raise_new(ledger, (), NOW) == 0
    assert [raise_new(ledger, ("HELD",), NOW + second) for second in range(3)] == [1, 0, 0]
    ((kind, message),) = told(ledger)
    assert kind == "held"
    assert message.startswith(f"job {job} is HELD: two slices are missing; ")
    assert f"rtseg-daemon jobs show {job}" in message


def test_a_job_that_is_held_again_is_told_again(ledger: Engine, job: int) -> None:
    for second in (0, 60):
        with writing(ledger) as session:
            jobs.hold(session, job, "feet first", at=NOW + second)
        raise_new(ledger, ("HELD",), NOW + second)
        with writing(ledger) as session:
            session.get_one(Job, job).state = "QUEUED"
    assert len(told(ledger)) == 2


def test_a_failed_job_is_told_at_once_without_its_reason_which_may_name_the_patient(ledger: Engine, job: int) -> None:
    with writing(ledger) as session:
        jobs.fail(session, job, "MEYER^ANNA is unknown here", at=NOW)
    assert raise_new(ledger, ("HELD",), NOW) == 0
    assert raise_new(ledger, ("HELD", "FAILED"), NOW) == 1
    assert told(ledger) == [("failed", f"job {job} is FAILED; `rtseg-daemon jobs show {job}` says why")]


def test_a_series_that_no_route_took_is_told_at_once(ledger: Engine) -> None:
    with writing(ledger) as session:
        series = receive(session, arrival()).series_id
        move_series(session, series, SeriesState.UNROUTED, what="no route", reasons=["no route matches"], at=NOW)
    assert raise_new(ledger, ("UNROUTED",), NOW) == 1
    assert told(ledger) == [
        ("unrouted", f"series {series} is UNROUTED: no route matches; `rtseg-daemon series show {series}`")
    ]


def test_what_happened_long_before_the_setting_is_not_told(ledger: Engine, job: int) -> None:
    with writing(ledger) as session:
        jobs.hold(session, job, "feet first", at=NOW - 2 * 86400)
    assert raise_new(ledger, ("HELD",), NOW) == 0


def test_another_version_that_serves_is_told_once_to_those_who_asked(ledger: Engine) -> None:
    detail = {"bundle": "tiny", "number": 2, "before": "1.0", "after": "2.0", "digest": "d" * 64, "why": "better"}
    with writing(ledger) as session:
        record_event(session, "bundle", None, "rolled back", detail=detail, who="anna", at=NOW)
    assert raise_new(ledger, ("HELD",), NOW) == 0
    assert [raise_new(ledger, ("ACTIVATED",), NOW + second) for second in range(2)] == [1, 0]
    expected = "tiny 2.0 serves (before: 1.0): rolled back by anna, better; `rtseg-daemon models show tiny`"
    assert told(ledger) == [("activated", expected)]
