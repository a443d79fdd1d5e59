"""A group commit whose connection ends: done once, or refused, and never both."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Setting
from rtseg_daemon.receive import group_commit
from rtseg_daemon.receive.group_commit import GroupCommit
from tests.postgres import Server


@pytest.fixture
def ledger_kind() -> str:
    return "postgresql"


class Hook:
    """Called between the work and the commit."""

    def __init__(self) -> None:
        self.does: Callable[[], object] = lambda: None

    def __call__(self) -> None:
        self.does()


@pytest.fixture
def hook() -> Hook:
    return Hook()


@pytest.fixture
def commits(ledger: Engine, hook: Hook) -> Iterator[GroupCommit]:
    thread = GroupCommit(ledger, hook)
    thread.start()
    yield thread
    thread.stop()


def keys(ledger: Engine) -> list[str]:
    with reading(ledger) as session:
        return sorted(row.key for row in session.query(Setting) if not row.key.startswith("last_commit"))


class Work:
    """Adds a row that may be there once, and counts how often it was asked to."""

    def __init__(self, key: str) -> None:
        self.key, self.times = key, 0

    def __call__(self, session: Session) -> int:
        self.times += 1
        session.add(Setting(key=self.key, value="x"))
        return self.times


def kill_all(postgres: Server) -> None:
    postgres.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rtseg-daemon'")


def test_a_connection_that_ends_before_the_commit_costs_a_second_try(
    commits: GroupCommit, ledger: Engine, postgres: Server, hook: Hook
) -> None:
    def once() -> None:
        hook.does = lambda: None
        kill_all(postgres)

    hook.does = once
    work = Work("a")
    assert commits.submit(work) == 2
    assert keys(ledger) == ["a"]


def test_a_commit_that_went_through_though_nobody_said_so_is_not_done_again(
    commits: GroupCommit, ledger: Engine, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ledger.dialect.do_commit

    def cut(connection: Any) -> None:
        honest(connection)
        monkeypatch.undo()
        kill_all(postgres)
        connection.execute("SELECT 1")  # raises what the driver raises when the answer does not come

    monkeypatch.setattr(ledger.dialect, "do_commit", cut)
    work = Work("a")
    assert commits.submit(work) == 1, "the result of the first time"
    assert work.times == 1
    assert keys(ledger) == ["a"]
    assert commits.submit(Work("b")) == 1, "the mark of one transaction says nothing of the next"
    assert keys(ledger) == ["a", "b"]


def test_a_server_that_is_away_for_long_refuses_all_that_wait_at_once(
    commits: GroupCommit, ledger: Engine, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_SECONDS", 0.5)
    commits.submit(Work("a"))
    postgres.stop()
    try:
        began = time.monotonic()
        for key in "bc":
            with pytest.raises(SQLAlchemyError):
                commits.submit(Work(key))
        assert time.monotonic() - began < 10
    finally:
        postgres.start()
    assert commits.submit(Work("d")) == 1
    assert keys(ledger) == ["a", "d"]


def test_a_sign_of_life_writes_nothing(commits: GroupCommit, ledger: Engine) -> None:
    """Else every page that is open would be drawn anew each second."""

    def snapshot() -> object:
        with ledger.connect() as connection:
            return connection.exec_driver_sql("SELECT pg_current_snapshot()").scalar()

    commits.submit(Work("a"))
    before = snapshot()
    commits.submit(lambda _session: None)
    assert snapshot() == before
