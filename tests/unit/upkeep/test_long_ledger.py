"""A ledger of years is asked as quickly as a new one: no periodic question reads a table from end to end.

SQLite plans by the schema alone, so that an empty ledger shows how a long one is read. What is measured in both
databases is in docs/performance.md.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from rtseg_daemon.ledger import associations, deliveries, first, hosts, orphans, refusals, seen_alarms, urgency, views
from rtseg_daemon.ledger.bounded import each_value
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import people, record_event
from rtseg_daemon.ledger.found_events import EventSearch, find_events
from rtseg_daemon.ledger.found_jobs import Search, find_jobs, routes_and_bundles
from rtseg_daemon.ledger.schema import Event, IncomingAssociation, Series
from rtseg_daemon.ledger.series import open_series
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import at_once, audit_trail, digest, lateness, retention, shadowing
from rtseg_daemon.upkeep.drift import streams, watch
from rtseg_daemon.web.pages.now import at_work, unrouted

TABLES = "job|series|instance|event|delivery|alarm|association|series_association"
WHOLE = re.compile(rf"^SCAN ({TABLES})\b(?! USING (COVERING |INDEX alarm_un))")
"""A table that is read row by row. An index of what is open is short, and so are tables that are not named here."""
NOW = time.time()

QUESTIONS: dict[str, Callable[[Session], Any]] = {
    "sweep": open_series,
    "courier": lambda session: deliveries.due_deliveries(session, "tps", NOW, 3600.0),
    "orphans": orphans.expired,
    "late series": lambda session: list(lateness.late_series(session, NOW)),
    "oldest job": views.oldest_waiting,
    "shadows": lambda session: shadowing.ready(session, "head-neck", "han-oar@2.0", "d"),
    "charts asked": watch.stamp,
    "charts": lambda session: streams.ours(session, streams.Wanted()),
    "unsent alarms": seen_alarms.unsent,
    "unseen alarms": seen_alarms.unseen_count,
    "newest alarms": lambda session: seen_alarms.all_alarms(session, limit=25),
    "told at once": lambda session: list(at_once.reached(session, ("HELD", "FAILED", "UNROUTED", "ACTIVATED"), NOW)),
    "digest, failed": lambda session: digest.jobs_in(session, JobState.FAILED),
    "page Now": lambda session: (at_work(session), unrouted(session), first.newest_event(session)),
    "page Cases": lambda session: (routes_and_bundles(session), find_jobs(session, Search(state=JobState.HELD))),
    "page Worklist": lambda session: (
        urgency.waiting_jobs(session, frozenset({1}), NOW),
        urgency.waiting_series(session, frozenset({1})),
    ),
    "page Audit": lambda session: find_events(session, EventSearch()),
    "audit trail": lambda session: list(
        audit_trail.told_by_association(
            session, IncomingAssociation(id=1, calling_ae="a", calling_host="b", opened_at=1.0)
        )
    ),
    "forgotten refusals": lambda session: refusals.forget(session, NOW),
    "listening again": lambda session: associations.resume_listening(session),
}


@contextmanager
def heard(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """Every question that is asked meanwhile, with its values."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if not many and statement.split()[0] in ("SELECT", "WITH", "UPDATE", "DELETE"):
            found.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


def read_whole(engine: Engine, asked: list[tuple[str, Any]]) -> list[str]:
    """What of these questions reads a table from end to end."""
    found = []
    with engine.connect() as connection:
        for statement, values in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            steps = [row[3] for row in plan if WHOLE.match(row[3])]
            if steps:
                found.append(f"{steps}: {statement}")
    return found


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_periodic_question_reads_a_table_from_end_to_end(ledger: Engine, name: str) -> None:
    with heard(ledger) as asked, writing(ledger) as session:
        QUESTIONS[name](session)
    assert asked, "something was asked"
    assert read_whole(ledger, asked) == []


def test_a_pass_of_retention_reads_what_is_here(ledger: Engine, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "storage")
    layout.create()
    with heard(ledger) as asked:
        retention.remove_old(ledger, layout, 1.0, NOW)
    assert read_whole(ledger, asked) == []


def test_a_question_that_reads_everything_is_found(ledger: Engine) -> None:
    with heard(ledger) as asked, reading(ledger) as session:
        session.execute(Series.__table__.select().where(Series.description == "x"))
    assert len(read_whole(ledger, asked)) == 1


def test_each_value_comes_once_sorted_and_without_none(ledger: Engine) -> None:
    with writing(ledger) as session:
        for who in ("b", "a", "b", "worker-0@ct-1/4711-9f3a1c", "daemon", "a"):
            record_event(session, "job", 1, "viewed", who=who)
    with reading(ledger) as session:
        assert each_value(session, Event.who, Event.who < "c") == ["a", "b"]
        assert each_value(session, Event.from_state) == []
        assert people(session) == ["a", "b"]


def test_events_of_all_people_come_newest_first_whoever_did_them(ledger: Engine) -> None:
    with writing(ledger) as session:
        for number, who in enumerate(("anna", "bo", "daemon", "anna", "bo", "bo")):
            record_event(session, "job", number, "viewed", who=who)
            session.flush()
    with reading(ledger) as session:
        page, more = find_events(session, EventSearch(), limit=3)
        assert [event.subject_id for event in page] == [5, 4, 3]
        assert more
        rest, more = find_events(session, EventSearch(older=page[-1].id), limit=3)
        assert [event.subject_id for event in rest] == [1, 0]
        assert not more


def test_only_the_first_host_ever_adopts_and_a_restart_reads_no_image(ledger: Engine) -> None:
    for _ in range(2):
        with heard(ledger) as asked, writing(ledger) as session:
            hosts.register(session, "north", storage="a", version="1", address="10.0.0.1:1")
    assert not any("UPDATE instance" in statement for statement, _ in asked)
