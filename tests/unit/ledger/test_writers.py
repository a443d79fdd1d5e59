"""Who reads, decides and writes is alone, in both databases."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.ledger.schema import Alarm, Event, Instance, Job, Series, Setting
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

TOGETHER = 4


def all_at_once(ledger: Engine, work: object) -> list[object]:
    """Do the same in several processes' stead, each with connections of its own. Returns what each got."""
    start = threading.Barrier(TOGETHER)

    def one(number: int) -> object:
        engine = open_ledger(ledger.url)
        try:
            start.wait(20)
            return work(engine, number)  # type: ignore[operator]
        finally:
            engine.dispose()

    with ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(one, range(TOGETHER)))


def test_what_a_writer_has_read_is_still_true_when_it_writes(ledger: Engine) -> None:
    with writing(ledger) as session:
        session.add(Setting(key="count", value="0"))

    def count(engine: Engine, _number: int) -> None:
        for _ in range(5):
            with writing(engine) as session:
                setting = session.get_one(Setting, "count")
                before = int(setting.value)
                time.sleep(0.002)
                setting.value = str(before + 1)

    all_at_once(ledger, count)
    with reading(ledger) as session:
        assert session.get_one(Setting, "count").value == str(5 * TOGETHER)


def test_a_series_an_object_a_job_and_an_alarm_that_come_at_once_are_one_each(ledger: Engine) -> None:
    def come(engine: Engine, number: int) -> str:
        with writing(engine) as session:
            recorded = receive(session, arrival(1))
            jobs.create_job(session, recorded.series_id, 1, "tiny", "all")
            raise_alarm(session, "test", "once", f"by {number}")
            return str(recorded.repeat)

    assert sorted(map(str, all_at_once(ledger, come))) == ["DUPLICATE"] * (TOGETHER - 1) + ["NEW"]
    with reading(ledger) as session:
        counts = [session.query(table).count() for table in (Series, Job, Alarm)]
    assert counts == [1, 1, 1]


def test_numbers_grow_in_the_order_of_the_commits(ledger: Engine) -> None:
    """Who was first, and what the audit trail has not yet, is asked by the number of the last event that was seen."""
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        engine = open_ledger(ledger.url)
        while not done.is_set():
            with reading(engine) as session:
                last = seen[-1] if seen else 0
                seen.extend(session.scalars(text(f"SELECT id FROM event WHERE id > {last} ORDER BY id")))
        engine.dispose()

    watcher = threading.Thread(target=watch)
    watcher.start()

    def tell(engine: Engine, number: int) -> None:
        for _ in range(10):
            with writing(engine) as session:
                record_event(session, "daemon", None, f"by {number}")
                session.flush()
                time.sleep(0.001)

    all_at_once(ledger, tell)
    time.sleep(0.1)
    done.set()
    watcher.join()
    with reading(ledger) as session:
        assert seen == [event.id for event in session.query(Event).order_by(Event.id)]
    assert len(seen) == 10 * TOGETHER


def test_a_reader_sees_one_snapshot_and_can_write_nothing(ledger: Engine) -> None:
    with reading(ledger) as session:
        assert session.query(Setting).filter_by(key="a").count() == 0
        with writing(ledger) as other:
            other.add(Setting(key="a", value="b"))
        assert session.query(Setting).filter_by(key="a").count() == 0
    if ledger.dialect.name == "postgresql":
        with reading(ledger) as session, pytest.raises(DBAPIError, match="read-only"):
            session.execute(text("INSERT INTO setting (key, value) VALUES ('c', 'd')"))


def test_numbers_from_outside_may_be_as_large_as_people_type_them(ledger: Engine) -> None:
    with reading(ledger) as session:
        assert session.get(Job, 10**18 - 1) is None
    with writing(ledger) as session:
        series = session.get_one(Series, receive(session, arrival(1)).series_id)
        series.expected_count = 2**40
        session.flush()


def test_a_text_with_a_nul_costs_nothing_but_that(ledger: Engine) -> None:
    """A stranger's PatientID may hold one. SQLite keeps it, PostgreSQL's texts cannot."""
    with writing(ledger) as session:
        receive(session, arrival(1, patient_id="A\0B", facts={"scanner": "C\0D", "other": 1}))
    with reading(ledger) as session:
        series, instance = session.query(Series).one(), session.query(Instance).one()
        assert series.patient_id in ("A\0B", "A\ufffdB")
        assert session.query(Series).where(Series.patient_id == "A\0B").count() == 1
        assert instance.facts in ({"scanner": "C\0D", "other": 1}, {"scanner": "C\ufffdD", "other": 1})
        assert (session.scalar(select(Instance.facts["scanner"].as_string())) or "").startswith("C")
