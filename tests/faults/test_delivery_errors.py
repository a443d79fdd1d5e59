"""An error at every write, fsync, rename, statement and commit of a result and of its delivery; a TPS away for days.

Nothing is started again in between: the same worker and the same courier go on and bring the job to its end.
"""

import hashlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from structlog.testing import capture_logs

from rtseg_daemon.config.sections import DeliverySection
from rtseg_daemon.daemon.worker import claim
from rtseg_daemon.deliver import courier as courier_module
from rtseg_daemon.deliver.courier import Courier
from rtseg_daemon.ledger import clock as ledger_clock
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.work import endings
from rtseg_daemon.work.job import run_job
from tests.deliveries import WAITS, World
from tests.faults.test_reception_errors import Saboteur
from tests.unit.work.bench import Bench
from tests.world import Tps

# pynetdicom leaves the socket of a refused connection to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DAY = 86_400.0
PROMISED_SECONDS = 300.0


# --- the saboteur under the file system and the ledger ---------------------------------------------------------------


class Raw(io.FileIO):
    """A file whose write calls the saboteur knows of."""

    saboteur: Saboteur

    def write(self, data: Any) -> int | None:
        self.saboteur.strike("write")
        return super().write(data)


def undermine_files(monkeypatch: pytest.MonkeyPatch, saboteur: Saboteur, results: Path) -> None:
    """Whatever opens, writes, syncs or renames a file below `results` passes the saboteur."""

    class Watched(Raw):
        pass

    Watched.saboteur = saboteur
    plain_open, plain_os_open = Path.open, os.open

    def path_open(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode != "wb" or results not in self.parents:
            return plain_open(self, mode, *args, **options)
        saboteur.strike("open")
        return io.BufferedWriter(Watched(self, "w"))

    def os_open(path: Any, *args: Any, **options: Any) -> int:
        if results in Path(path).parents:
            saboteur.strike("open")
        return plain_os_open(path, *args, **options)

    monkeypatch.setattr(Path, "open", path_open)
    monkeypatch.setattr(os, "open", os_open)
    monkeypatch.setattr(os, "fdopen", lambda descriptor, _mode: io.BufferedWriter(Watched(descriptor, "w")))
    monkeypatch.setattr(os, "fsync", saboteur.wrap("fsync", os.fsync))
    for name in ("rename", "replace", "mkdir"):
        monkeypatch.setattr(Path, name, saboteur.wrap("rename" if name == "replace" else name, getattr(Path, name)))


def undermine_ledger(engine: Engine, saboteur: Saboteur) -> None:
    """Every statement of a write transaction and every commit of one passes the saboteur."""

    def statement(connection: Connection, *_: Any) -> None:
        if connection.get_execution_options().get("write"):
            saboteur.strike("statement")

    def commit(connection: Connection) -> None:
        if connection.get_execution_options().get("write"):
            saboteur.strike("commit")

    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "commit", commit)


# --- the worker's result ---------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Engine) -> Iterator[Bench]:
    bench = Bench(tmp_path, monkeypatch, ledger)
    patient_clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: None)
    monkeypatch.setattr(endings, "time", patient_clock)
    yield bench
    bench.desk.engine.dispose()


def another_run(bench: Bench, run: int) -> int:
    """A further job about the same series, waiting in the queue."""
    with writing(bench.ledger) as session:
        series = session.get_one(Job, bench.job).series_id
        return jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all", run=run).id


def work_off(bench: Bench, turns: int = 3) -> None:
    """What the worker's loop does, without its pauses."""
    for _ in range(turns):
        claimed = claim(bench.desk)
        if claimed is not None:
            run_job(bench.desk, claimed)


def test_an_error_at_any_call_of_a_result_costs_no_job_and_no_restart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    saboteur, struck, at, failed = Saboteur(), set(), 0, True
    work_off(bench)
    undermine_files(monkeypatch, saboteur, bench.layout.results)
    undermine_ledger(bench.desk.engine, saboteur)
    with capture_logs():
        while failed:
            job = another_run(bench, at + 2)
            saboteur.expect(at)
            work_off(bench)
            failed = at < len(saboteur.calls)
            struck.add(saboteur.calls[min(at, len(saboteur.calls) - 1)])
            saboteur.expect(-1)
            is_whole(bench, job)
            at += 1
    sys.stderr.write(f"{at - 1} calls of a result failed, one at a time\n")
    assert struck == {"mkdir", "open", "write", "fsync", "rename", "statement", "commit"}
    assert at > 30, "the calls of one job"


def is_whole(bench: Bench, job_id: int) -> None:
    """SEGMENTED once, with the file that the ledger speaks of and nothing half-written beside it."""
    with reading(bench.ledger) as session:
        job = session.get_one(Job, job_id)
        assert (job.state, job.error, len(job.deliveries)) == (JobState.SEGMENTED, None, 1)
        content = (bench.layout.directory / str(job.rtstruct_path)).read_bytes()
        assert hashlib.sha256(content).hexdigest() == job.rtstruct_sha256
    assert sorted(path.name for path in bench.layout.result(job_id).iterdir()) == ["RTSTRUCT.dcm", "entropy.npz"]


# --- the courier ------------------------------------------------------------------------------------------------------


class Clock(threading.Event):
    """The courier's time, and the event that stops it: waiting for it turns the clock and takes no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float = 0.0) -> None:
        super().__init__()
        self.seconds = 0.0
        self.step = step
        self.until: Callable[[], bool] = lambda: True
        told = SimpleNamespace(time=lambda: 1e9 + self.seconds, monotonic=lambda: self.seconds)
        monkeypatch.setattr(courier_module, "time", told)
        monkeypatch.setattr(ledger_clock, "time", told)

    def is_set(self) -> bool:
        return self.until()

    def wait(self, timeout: float | None = None) -> bool:
        """Time passes, at least `step` at once."""
        self.seconds += max(self.step, timeout or 0.0)
        return self.is_set()


def run(courier: Courier, clock: Clock, until: Callable[[], bool], longest: float) -> float:
    """Let the courier work until then; returns the seconds that passed on its clock."""
    began = clock.seconds
    clock.until = lambda: until() or clock.seconds > began + longest
    courier.run()
    assert until(), f"not within {longest} s"
    return clock.seconds - began


@pytest.mark.parametrize("renamed", [False, True])
def test_an_error_at_any_call_of_a_delivery_costs_no_object_and_no_restart(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: bool
) -> None:
    """With `roi_names` the destination gets a copy of its own, which is written durably before it is sent."""
    tps, saboteur, clock = Tps(), Saboteur(), Clock(monkeypatch)
    world = World(ledger, tmp_path, tps, **({"roi_names": {"Brainstem": "Hirnstamm"}} if renamed else {}))
    at, struck, failed = 1, set(), True
    with tps.running(), capture_logs():
        courier = Courier(ledger, world.config, world.config.destinations[0], clock, WAITS)
        first = world.job(1)
        run(courier, clock, lambda: world.shape(first)["state"] == "DELIVERED", PROMISED_SECONDS)
        undermine_files(monkeypatch, saboteur, world.layout.results)
        undermine_ledger(ledger, saboteur)
        while failed:
            saboteur.expect(-1)
            job = world.job(at + 1)
            saboteur.expect(at - 1)
            run(courier, clock, lambda job=job: world.shape(job)["state"] == "DELIVERED", PROMISED_SECONDS)
            failed = at <= len(saboteur.calls)
            struck.add(saboteur.calls[min(at, len(saboteur.calls)) - 1])
            at += 1
    sys.stderr.write(f"{at - 2} calls of a delivery failed, one at a time\n")
    assert struck >= {"statement", "commit"} | ({"open", "write", "fsync", "rename"} if renamed else set())
    assert len({dataset.SOPInstanceUID for dataset in tps.structure_sets}) == at, "one object for each job"


@pytest.mark.parametrize("step", [7200.0, pytest.param(600.0, marks=pytest.mark.faults)])
def test_a_tps_that_was_away_for_three_days_has_everything_within_five_minutes(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """The clock is turned by `step` seconds at once for three days, then by the courier's own pauses.

    The TPS comes back at the worst moment: right after a probe has failed.
    """
    tps, clock = Tps(), Clock(monkeypatch, step)
    world = World(ledger, tmp_path, tps)
    config = world.config.model_copy(update={"delivery": DeliverySection()})
    with capture_logs():
        courier = Courier(ledger, config, config.destinations[0], clock, WAITS)
        waiting = [world.job(number) for number in range(1, 4)]
        returns = clock.seconds + 3 * DAY
        run(courier, clock, lambda: clock.seconds >= returns, 4 * DAY)
        assert {world.delivery(job)["state"] for job in waiting} == {"WAITING"}
        clock.step, returns = 0.0, clock.seconds + 1.0
        run(courier, clock, lambda: courier.probed_at >= returns, DAY)
        with tps.running():
            took = run(courier, clock, lambda: all(world.shape(job)["state"] == "DELIVERED" for job in waiting), DAY)
    sys.stderr.write(f"delivered {took:.0f} s after the return\n")
    assert took <= PROMISED_SECONDS
    assert len(tps.structure_sets) == len({d.SOPInstanceUID for d in tps.structure_sets}) == len(waiting)
