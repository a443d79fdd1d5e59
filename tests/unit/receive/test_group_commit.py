import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.migrate import TOLERATED_KEY
from rtseg_daemon.ledger.schema import Setting
from rtseg_daemon.receive.group_commit import GroupCommit


class Slow:
    """Counts commits and holds each up for a moment, so that callers gather."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        time.sleep(0.05)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def commits(ledger: Engine, slow: Slow) -> Iterator[GroupCommit]:
    thread = GroupCommit(ledger, slow)
    thread.start()
    yield thread
    thread.stop()


def put(key: str) -> "object":
    def work(session: Session) -> str:
        session.add(Setting(key=key, value="x"))
        session.flush()
        return key

    return work


def keys(ledger: Engine) -> set[str]:
    with reading(ledger) as session:
        return {key for (key,) in session.query(Setting.key)} - {TOLERATED_KEY}


def together(commits: GroupCommit, works: dict[str, object]) -> dict[str, object]:
    """Submit from as many threads at once; returns results or errors."""
    outcome: dict[str, object] = {}

    def submit(name: str, work: object) -> None:
        try:
            outcome[name] = commits.submit(work)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcome[name] = error

    threads = [threading.Thread(target=submit, args=item) for item in works.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return outcome


def test_what_is_submitted_is_durable_when_submit_returns(commits: GroupCommit, ledger: Engine) -> None:
    assert commits.submit(put("a")) == "a"  # type: ignore[arg-type]
    assert keys(ledger) == {"a"}


def test_those_who_wait_are_committed_together(commits: GroupCommit, ledger: Engine, slow: Slow) -> None:
    names = [f"k{number}" for number in range(20)]
    assert together(commits, {name: put(name) for name in names}) == {name: name for name in names}
    assert keys(ledger) == set(names)
    assert slow.count < 10


def test_one_that_fails_does_not_harm_the_others(commits: GroupCommit, ledger: Engine) -> None:
    def broken(_session: Session) -> None:
        raise ValueError("mine alone")

    with capture_logs():
        outcome = together(commits, {"a": put("a"), "broken": broken, "b": put("b"), "c": put("c")})
    assert isinstance(outcome["broken"], ValueError)
    assert keys(ledger) == {"a", "b", "c"}


def test_one_that_cannot_be_prepared_is_left_out(commits: GroupCommit, ledger: Engine) -> None:
    def refuse() -> None:
        raise OSError("the file cannot be flushed")

    with pytest.raises(OSError, match="flushed"):
        commits.submit(put("a"), refuse)  # type: ignore[arg-type]
    assert keys(ledger) == set()


def test_a_system_without_threads_refuses_a_group_and_serves_the_next(
    commits: GroupCommit, ledger: Engine, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(commits._pool, "map", none_left)
        answers = together(commits, {name: put(name) for name in "abc"})
    assert any(isinstance(answer, RuntimeError) for answer in answers.values())
    assert commits.submit(put("later"))
    assert "later" in keys(ledger)


def test_stopping_finishes_what_waits(ledger: Engine) -> None:
    thread = GroupCommit(ledger, lambda: None)
    waiting = threading.Thread(target=lambda: thread.submit(put("late")))  # type: ignore[arg-type]
    waiting.start()
    time.sleep(0.05)
    thread.start()
    thread.stop()
    waiting.join(5)
    assert keys(ledger) == {"late"}
