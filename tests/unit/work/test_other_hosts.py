"""A job whose files or home lie on another host: one that is away, gone for good, or full."""

import errno
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, update

from rtseg_daemon.cluster.files import HostFiles
from rtseg_daemon.cluster.shelf import Shelf
from rtseg_daemon.daemon.worker import claim
from rtseg_daemon.errors import ExchangeError, HostAway, HostGone, StorageFull
from rtseg_daemon.ledger import decisions, hosts, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.stored import OwnFiles
from rtseg_daemon.work import case, endings
from rtseg_daemon.work import job as job_module
from rtseg_daemon.work.desk import Desk
from tests.unit.work.bench import Bench, raising

FULL = OSError(errno.ENOSPC, "No space left on device")


@dataclass(frozen=True)
class Apart(OwnFiles):
    """The images are at hand. Some results are at home on a host that does what the test says."""

    seen: Exception | None = None
    brought: Exception | None = None
    calls: list[str] = field(default_factory=list)

    def keeps(self, host: str) -> bool:
        return host == ""

    def beside(self, host: str, job_id: int) -> dict[str, Path]:
        if self.seen is not None:
            raise self.seen
        return {}

    def bring(self, host: str, _job_id: int, _token: int, paths: Sequence[Path]) -> None:
        self.calls.append(host)
        assert paths
        if self.brought is not None:
            raise self.brought


def at_home_on(bench: Bench, host: str) -> None:
    """The job's last image came there, and so its result belongs there."""
    with writing(bench.ledger) as session:
        last = session.get_one(Job, bench.job).last_instance_id
        session.execute(update(Instance).where(Instance.id == last).values(host=host))


def state_of(bench: Bench, job_id: int) -> JobState:
    with reading(bench.ledger) as session:
        return session.get_one(Job, job_id).state


def on_the_way(bench: Bench, exchange: Any, address_of: Any = lambda host: f"{host}:1") -> None:
    """All images are at south, and this worker is of north."""
    with writing(bench.ledger) as session:
        session.execute(update(Instance).values(host="south"))
    shelf = Shelf(bench.layout.directory / "shelf", 10**10)
    bench.desk = replace(bench.desk, files=HostFiles(bench.layout, "north", shelf, exchange, address_of))


def test_a_disk_too_full_for_the_files_of_another_host_puts_the_job_off(bench: Bench) -> None:
    on_the_way(bench, SimpleNamespace(fetch=raising(FULL)))
    job = bench.run()
    assert (job["state"], job["attempts"]) == ("QUEUED", 0)
    assert "files of other hosts cannot be written here now (No space left on device)" in job["error"]


@pytest.mark.parametrize("error", [FULL, MemoryError(), ExchangeError("no list of files")])
def test_what_goes_wrong_with_the_next_jobs_files_does_not_harm_the_job_at_hand(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bench.run()
    with writing(bench.ledger) as session:
        first, second = (decisions.rerun(session, bench.job, "anna").id for _ in range(2))
    monkeypatch.setattr("tests.stub.StubSegmenter.engine", SimpleNamespace(on_card=True))
    honest = job_module.what_it_takes

    def takes(desk: Desk, job_id: int) -> Any:
        if job_id == second:
            raise error
        return honest(desk, job_id)

    monkeypatch.setattr(job_module, "what_it_takes", takes)
    bench.job = first
    assert bench.run()["state"] == "SEGMENTED"
    assert state_of(bench, second) is JobState.QUEUED


def test_the_next_jobs_files_come_once_those_at_hand_are_compared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may take their place on the shelf."""
    monkeypatch.setattr("tests.stub.StubSegmenter.engine", SimpleNamespace(on_card=True))
    order: list[str] = []
    honest, may_end = job_module.check_files, threading.Event()

    def slowly(*told: Any) -> None:
        may_end.wait(0.5)
        honest(*told)
        order.append("compared")

    monkeypatch.setattr(job_module, "check_files", slowly)
    monkeypatch.setattr(job_module, "read_next", lambda _desk: order.append("next"))
    assert bench.run()["state"] == "SEGMENTED"
    assert order == ["compared", "next"]


def test_images_of_a_host_that_is_out_of_the_ledger_fail_the_job_by_name_until_they_come_again(
    bench: Bench, ledger: Engine
) -> None:
    with writing(ledger) as session:
        hosts.register(session, "north", storage="1", version="1", address="north:1")
    on_the_way(bench, None, raising(HostGone("host south is out of the ledger")))
    job = bench.run()
    assert job["state"] == "FAILED"
    said = f"{len(bench.files)} of its images went with host south, which is out of the ledger; have the series sent"
    assert job["error"].startswith(said)
    with writing(ledger) as session:
        session.execute(update(Instance).values(host="north"))  # as reception does when they come again
        decisions.retry(session, bench.job, "anna")
    job = bench.run()
    assert job["state"] == "SEGMENTED"
    assert job["rtstruct_path"] == f"north:results/{bench.job}/RTSTRUCT.dcm", "its home is where its images are now"
    assert (bench.layout.result(bench.job) / "RTSTRUCT.dcm").is_file()


def test_what_was_fetched_before_is_contoured_though_its_host_is_gone(bench: Bench, ledger: Engine) -> None:
    on_the_way(bench, None, raising(HostGone("host south is out of the ledger")))
    with writing(ledger) as session:
        last = session.get_one(Job, bench.job).last_instance_id
        session.execute(update(Instance).where(Instance.id == last).values(host="north"))
        for one in session.query(Instance).filter_by(host="south"):
            place = bench.desk.files.shelf.place(one.sha256)  # type: ignore[attr-defined]
            place.parent.mkdir()
            shutil.copy(bench.layout.directory / one.path, place)
    assert bench.run()["state"] == "SEGMENTED"


def test_a_home_that_is_away_is_found_out_before_the_work(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home_on(bench, "south")
    bench.desk = replace(bench.desk, files=Apart(bench.layout, seen=HostAway("host south does not answer")))
    with monkeypatch.context() as idle:
        idle.setattr(case, "process_case", raising(AssertionError("it was contoured")))
        job = bench.run()
    assert (job["state"], job["attempts"], job["error"]) == ("QUEUED", 0, "host south does not answer")
    bench.desk = replace(bench.desk, files=Apart(bench.layout))
    bench.pass_time()
    assert bench.run()["state"] == "SEGMENTED"


@pytest.mark.parametrize("error", [HostAway("host south does not answer"), StorageFull("the disk of south is full")])
def test_a_result_that_finds_nobody_at_home_waits_seconds_and_leaves_nothing_here(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    at_home_on(bench, "south")
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(endings, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    bench.desk = replace(bench.desk, files=Apart(bench.layout, brought=error))
    job = bench.run()
    assert (job["state"], job["attempts"], job["error"]) == ("QUEUED", 0, str(error))
    assert len(bench.desk.files.calls) > 1  # type: ignore[attr-defined]
    assert clock[0] < 30
    assert not bench.layout.result(bench.job).exists()


def test_jobs_whose_home_is_away_let_the_others_go_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home_on(bench, "south")
    with writing(bench.ledger) as session:
        others = [decisions.rerun(session, bench.job, "anna").id for _ in range(3)]
    monkeypatch.setattr(job_module, "HOME_SECONDS", -1.0)
    bench.desk = replace(bench.desk, files=Apart(bench.layout, brought=HostAway("host south does not answer")))
    taken = []
    for _ in range(4):
        if lease := claim(bench.desk):
            job_module.run_job(bench.desk, lease)
            taken.append(lease.job_id)
    assert taken == [bench.job, *others]
    assert claim(bench.desk) is None
    with reading(bench.ledger) as session:
        assert jobs.next_waiting(session) is None


def test_a_disk_that_stays_full_puts_the_job_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "write_case", raising(FULL))
    monkeypatch.setattr(endings, "PATIENCE_SECONDS", -1.0)
    job = bench.run()
    assert (job["state"], job["attempts"]) == ("QUEUED", 0)
    assert job["error"] == "the result cannot be written (No space left on device); make room on the disk"
