"""The daily digest: at its time, once a day, and what it says."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Alarms
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.deliveries import note_destination
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.seen_alarms import all_alarms, unseen_count
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import SeriesState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.digest import numbered, raise_due
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

MORNING = datetime(2026, 11, 27, 6, 59).astimezone()


@pytest.fixture
def daily(config: Config) -> Config:
    return config.model_copy(update={"alarms": Alarms.model_validate({"digest": "07:00"})})


def at(**later: float) -> float:
    return (MORNING + timedelta(**later)).timestamp()


def text(ledger: Engine) -> str:
    with reading(ledger) as session:
        return session.query(Alarm).filter_by(kind="digest").order_by(Alarm.id.desc()).first().message  # type: ignore[union-attr]


def test_the_digest_comes_once_a_day_at_its_time(ledger: Engine, daily: Config, layout: Layout) -> None:
    moments = [at(), at(minutes=1), at(minutes=2), at(hours=12), at(hours=23), at(hours=24), at(hours=24, minutes=1)]
    told = [raise_due(ledger, daily, layout, moment) for moment in moments]
    assert told == [False, True, False, False, False, False, True]


def test_a_daemon_that_was_off_at_the_time_tells_it_when_it_is_back(
    ledger: Engine, daily: Config, layout: Layout
) -> None:
    assert raise_due(ledger, daily, layout, at(hours=5))


def test_without_a_time_there_is_no_digest(ledger: Engine, config: Config, layout: Layout) -> None:
    assert not raise_due(ledger, config, layout, at(hours=5))


def test_the_digest_says_what_waits_for_a_person_and_names_no_patient(
    ledger: Engine, daily: Config, layout: Layout
) -> None:
    now = at(minutes=1)
    with writing(ledger) as session:
        for number in range(4):
            one = arrival(number, series_instance_uid=f"1.3.{number}", received_at=now - 3600)
            series = receive(session, one).series_id
            if number == 3:
                move_series(session, series, SeriesState.UNROUTED, what="no route", at=now - 60)
                continue
            job = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all", at=now - 60)
            if number < 2:
                jobs.hold(session, job.id, "feet first", at=now - 60)
            else:
                jobs.fail(session, job.id, "no engine", at=now - 60)
        raise_alarm(session, "late", "k", "series 1 is late", at=now - 60)
        note_destination(session, "tps", False, "no answer")
    assert raise_due(ledger, daily, layout, now)
    lines = text(ledger).splitlines()
    assert lines[0].endswith(f"the 24 hours until {(MORNING + timedelta(minutes=1)).isoformat(timespec='minutes')}")
    assert "HELD jobs, which wait for a person: 2 (1, 2)" in lines
    assert "FAILED jobs: 1 (3)" in lines
    assert "Series whose contours are late: 3 (1, 2, 3)" in lines
    assert "Series of this day that no route took (UNROUTED): 1 (4)" in lines
    assert "Destinations that do not answer: tps" in lines
    assert "Alarms of this day that nobody has acknowledged: 1" in lines
    assert "Series received: 4. Jobs delivered: 0" in lines
    assert arrival().patient_id not in text(ledger)


def test_nobody_need_acknowledge_a_digest(ledger: Engine, daily: Config, layout: Layout) -> None:
    assert raise_due(ledger, daily, layout, at(hours=1))
    with reading(ledger) as session:
        assert unseen_count(session) == 0
        assert all_alarms(session) == []
        assert [alarm.kind for alarm in all_alarms(session, seen=True)] == ["digest"]


def test_a_long_list_of_numbers_is_cut() -> None:
    assert numbered(range(30)).endswith("18, 19, ...)")
    assert numbered(range(30)).startswith("30 (0, 1")
