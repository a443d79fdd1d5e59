"""A child that stands still is seen, told, killed and started again; one that lives is left alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.daemon.children import FIRST_SIGN_SECONDS, Child
from rtseg_daemon.daemon.supervisor import Supervisor
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.supervision import last_pulse, processes
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.chores import Upkeep
from rtseg_daemon.upkeep.direct import DirectAlarms
from tests.world import ROOT, wait_for


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    """A child that does nothing but live."""
    (tmp_path / "living.py").write_text(
        "from rtseg_daemon.daemon import lifeline\n"
        "lifeline.BEAT_SECONDS = 0.05\n"
        "stop = lifeline.follow_supervisor()\n"
        "lifeline.show_life(lambda: None)\n"
        "stop.wait()\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), str(ROOT)]))
    nothing = os.open(os.devnull, os.O_RDONLY)
    child = Child("receiver", "living", (), nothing, frozen_seconds=2.0)
    yield child
    child.send(signal.SIGKILL)
    if child.process is not None:
        child.process.wait()
        child.note_end()
    os.close(nothing)


def beats(child: Child) -> bool:
    return child.silence(time.monotonic()) < 1.0 and child.heard_at is not None


@pytest.fixture
def supervisor(child: Child, config: Config, layout: Layout, ledger: Engine) -> Supervisor:
    upkeep = Upkeep(config, layout, ledger, receiver_pid=lambda: child.pid)
    return Supervisor(upkeep, [child], threading.Event(), DirectAlarms(config.alarms, layout.directory))


def test_a_child_that_lives_is_heard_and_not_taken_for_frozen(child: Child) -> None:
    child.start_if_due()
    wait_for(lambda: beats(child), 30)
    assert child.freezes(time.monotonic()) is None
    assert child.freezes(time.monotonic() + 1.0) is None


def test_a_child_has_longer_for_its_first_sign_of_life(child: Child) -> None:
    child.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.started_at = 0.0
    assert child.freezes(FIRST_SIGN_SECONDS - 1) is None
    assert child.freezes(FIRST_SIGN_SECONDS + 1) == "receiver gave no sign of life for 301 s"
    assert child.freezes(FIRST_SIGN_SECONDS + 2) is None, "it is told once"
    child.process.kill()
    child.process.communicate()


def test_a_stopped_process_is_told_alarmed_and_restarted(
    child: Child, supervisor: Supervisor, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtseg_daemon.daemon.supervisor.WATCH_SECONDS", 0.05)

    def turned() -> None:
        supervisor.turn()

    def runs() -> bool:
        turned()
        return beats(child)

    wait_for(runs, 30)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)

    def restarted() -> bool:
        turned()
        return child.pid not in (None, first) and beats(child)

    wait_for(restarted, 60)
    with reading(ledger) as session:
        (alarm,) = session.query(Alarm).all()
        (row,) = processes(session)
    assert (alarm.kind, "receiver gave no sign of life for" in alarm.message) == ("process", True)
    assert (row.state, row.restarts, row.pid) == ("running", 1, child.pid)


def test_children_are_not_blamed_for_what_the_supervisor_slept_through(child: Child, supervisor: Supervisor) -> None:
    def runs() -> bool:
        supervisor.turn()
        return beats(child)

    wait_for(runs, 30)
    first = child.pid
    assert child.heard_at is not None
    child.heard_at -= 3600.0
    supervisor.turned_at -= 3600.0
    supervisor.watched_at = 0.0
    supervisor.turn()
    assert (child.pid, child.frozen) == (first, "")


def test_the_pulse_says_how_silent_each_child_is(child: Child, supervisor: Supervisor, ledger: Engine) -> None:
    def written() -> bool:
        supervisor.turn()
        with reading(ledger) as session:
            pulse = last_pulse(session)
        supervisor.pulsed_at = 0.0
        return pulse is not None and "receiver" in pulse.silent

    wait_for(written, 30)
    with reading(ledger) as session:
        pulse = last_pulse(session)
    assert pulse is not None
    assert (pulse.pid, pulse.silent["receiver"] < 5, pulse.overdue) == (os.getpid(), True, {})
    assert 0 <= time.monotonic() - pulse.at < 60


def test_a_ledger_that_cannot_be_written_is_told_without_it(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[str] = []
    monkeypatch.setattr(supervisor.direct, "tell", lambda _kind, _key, message: told.append(message))
    seconds = iter([0.0, 0.0, 10.0, 25.0, 25.0])
    supervisor.ledger.now = lambda: next(seconds)
    for _ in range(3):
        supervisor.ledger.failed(OSError("as on a full disk"))
    assert len(told) == 1
    assert "the ledger cannot be written" in told[0]
    supervisor.ledger.used()
    assert supervisor.ledger.failing_since is None
    assert supervisor.ledger.lost is None
    (tmp_path / "rtseg.db").unlink()
    supervisor._alarm("process", "receiver", "receiver does not stay alive")
    assert "rtseg.db is gone" in (supervisor.ledger.lost or "")
    assert told[-1] == "receiver does not stay alive"
