"""A person's decision is committed before it is told: a stopped terminal and a closed pipe cannot stop it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from tests.unit.cli.test_commands import Desk, desk
from tests.world import wait_for

__all__ = ["desk"]

LATER = 5e9
"""When the delivery would be tried again by itself."""

DECISIONS = {
    "rerun": ("QUEUED", ["jobs", "rerun", "1", "--no-send"], lambda d: states(d) == ["QUEUED", "QUEUED"]),
    "retry": ("FAILED", ["jobs", "retry", "1"], lambda d: states(d) == ["QUEUED"]),
    "cancel": ("QUEUED", ["jobs", "cancel", "1"], lambda d: states(d) == ["CANCELLED"]),
    "release": ("HELD", ["jobs", "release", "1", "--why", "seen"], lambda d: states(d) == ["QUEUED"]),
    "delivery": ("SEGMENTED", ["deliveries", "retry", "1"], lambda d: next_attempt(d) < LATER),
}


def states(desk: Desk) -> list[str]:
    with reading(desk.ledger) as session:
        return [str(job.state) for job in views.all_jobs(session)]


def next_attempt(desk: Desk) -> float:
    with reading(desk.ledger) as session:
        return views.all_deliveries(session)[0].next_attempt_at or 0.0


def waiting_for(desk: Desk, state: str) -> None:
    """A job in this state, and its deliveries not due for long."""
    desk.job(state)
    with writing(desk.ledger) as session:
        for delivery in views.all_deliveries(session):
            delivery.next_attempt_at = LATER


@contextmanager
def started(desk: Desk, arguments: list[str], out: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "rtseg_daemon", *arguments, "--config", str(desk.config)]
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fill(pipe: int) -> None:
    """Write until the pipe takes no more."""
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 512)
    os.set_blocking(pipe, True)


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_terminal_that_is_stopped_locks_no_ledger(desk: Desk, decision: str, form: list[str]) -> None:
    state, arguments, done = DECISIONS[decision]
    waiting_for(desk, state)
    reader, writer = os.pipe()
    fill(writer)
    with started(desk, [*arguments, *form], writer) as process:
        wait_for(lambda: done(desk), 30, lambda: f"{states(desk)}")
        time.sleep(0.3)
        assert process.poll() is None, "it waits for its reader"
        began = time.monotonic()
        with writing(desk.ledger) as session:
            record_event(session, "daemon", None, "another writer")
        assert time.monotonic() - began < 5
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_closed_pipe_takes_nothing_back_and_says_that_it_is_done(desk: Desk, decision: str, form: list[str]) -> None:
    state, arguments, done = DECISIONS[decision]
    waiting_for(desk, state)
    reader, writer = os.pipe()
    os.close(reader)
    with started(desk, [*arguments, *form], writer) as process:
        os.close(writer)
        assert process.stderr is not None
        told = process.stderr.read().decode()
        assert process.wait(30) == 0
    assert done(desk)
    assert told.startswith("rtseg-daemon: done, though the output was closed: ")
    assert "Exception ignored" not in told
