"""Rejected callers are logged with their title and why, and counted, however many there are."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.rejected_callers import (
    MOST_ROWS,
    CallerSeen,
    count_rejected,
    rejected_since,
    rejected_totals,
)
from rtseg_daemon.receive.group_commit import GroupCommit
from rtseg_daemon.receive.turned_away import MOST_CALLERS, TurnedAway

STRANGER = CallerSeen("STRANGER", "RTSEG", "10.0.0.9", "calling_title", "unknown title")


@pytest.fixture
def commits(ledger: Engine) -> Iterator[GroupCommit]:
    commits = GroupCommit(ledger, lambda: None)
    commits.start()
    yield commits
    commits.stop()


def rows(ledger: Engine, since: float = 0.0) -> list[tuple[str, int, float]]:
    with reading(ledger) as session:
        return [(row.calling_ae, row.count, row.last_at) for row in rejected_since(session, since)]


def test_a_rejected_caller_is_logged_with_title_and_reason_and_counted(
    ledger: Engine, commits: GroupCommit, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([100.0, 200.0])
    away = TurnedAway(now=lambda: next(now))
    for _ in range(3):
        away.note(STRANGER)
    logged = capsys.readouterr().out
    assert all(part in logged for part in ("STRANGER", "10.0.0.9", "unknown title"))
    away.write(commits)
    away.note(STRANGER)
    away.write(commits)
    assert rows(ledger) == [("STRANGER", 4, 200.0)]
    with reading(ledger) as session:
        assert rejected_totals(session) == {"calling_title": 4}
    assert rows(ledger, since=201.0) == []


def test_a_flood_of_titles_stays_bounded_in_memory_and_in_the_ledger(ledger: Engine, commits: GroupCommit) -> None:
    away = TurnedAway(now=lambda: 100.0)
    for number in range(1000):
        away.note(CallerSeen(f"X{number}", "RTSEG", "10.0.0.9", "calling_title", "unknown title"))
        assert len(away.seen) <= MOST_CALLERS + 1
    away.write(commits)
    assert sum(count for _, count, _ in rows(ledger)) == 1000
    with writing(ledger) as session:
        for number in range(2 * MOST_ROWS):
            many = CallerSeen(f"Y{number}", "RTSEG", "10.0.0.9", "calling_title", "unknown title")
            count_rejected(session, {many: 1}, 200.0 + number)
    assert len(rows(ledger)) == MOST_ROWS
    assert rows(ledger)[0][0] == f"Y{2 * MOST_ROWS - 1}"
    with reading(ledger) as session:
        assert rejected_totals(session) == {"calling_title": 1000 + 2 * MOST_ROWS}


def test_a_ledger_that_cannot_be_written_gets_the_count_later(ledger: Engine, commits: GroupCommit) -> None:
    class Away:
        def submit(self, work: Any) -> None:
            raise OperationalError("insert", {}, Exception("database is locked"))

    away = TurnedAway(now=lambda: 100.0)
    away.note(STRANGER)
    away.write(Away())  # type: ignore[arg-type]
    away.note(STRANGER)
    away.write(commits)
    assert rows(ledger) == [("STRANGER", 2, 100.0)]


def test_what_was_counted_last_is_written_at_the_end(ledger: Engine, commits: GroupCommit) -> None:
    away, stop = TurnedAway(now=lambda: 100.0), threading.Event()
    away.note(STRANGER)
    stop.set()
    away.keep_writing(commits, stop)
    assert rows(ledger) == [("STRANGER", 1, 100.0)]
