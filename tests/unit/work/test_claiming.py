"""Claims that go wrong between worker and ledger: a host is drained meanwhile, or nobody hears of the commit."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from rtseg_daemon.daemon import worker
from rtseg_daemon.daemon.permits import OnBehalf
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.host_views import jobs_on
from rtseg_daemon.ledger.jobs import create_job
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from tests.unit.work.bench import Bench, events_of_job


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def states(ledger: Engine) -> list[tuple[JobState, int]]:
    """State and attempts of each job."""
    with reading(ledger) as session:
        return [(job.state, job.attempts) for job in session.query(Job).order_by(Job.id)]


def another_job(bench: Bench) -> None:
    with writing(bench.ledger) as session:
        job = session.get_one(Job, bench.job)
        create_job(session, job.series_id, job.last_instance_id, job.bundle, job.route, run=2)


class Unheard:
    """The commits with these numbers, from 1 on, are made, and the connection ends before their answers."""

    def __init__(self, *numbers: int) -> None:
        self.numbers, self.count = numbers, 0

    @contextmanager
    def writing(self, engine: Engine) -> Iterator[Session]:
        with writing(engine) as session:
            yield session
        self.count += 1
        if self.count in self.numbers:
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))


def work(bench: Bench, monkeypatch: pytest.MonkeyPatch, waits: int, permit: Any = worker.ALWAYS) -> None:
    """Let the worker work until it has waited so often for something to do."""
    stop = threading.Event()

    class Bell:
        def __init__(self, *_: Any) -> None:
            self.left = waits

        def wait(self, *_: Any) -> None:
            self.left -= 1
            if self.left == 0:
                stop.set()

    monkeypatch.setattr(worker, "Bell", Bell)
    worker.work(bench.desk, stop, permit)


@pytest.mark.parametrize("unheard", [(1,), (1, 2)], ids=["the claim", "the claim, and its way back"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_job_that_was_claimed_unheard_is_done_free_of_charge_and_never_beside_another(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch, jobs: int, unheard: tuple[int, ...]
) -> None:
    if jobs == 2:
        another_job(bench)
    seen: list[int] = []
    run = worker.run_job

    def look(desk: Any, lease: Any) -> None:
        seen.append(sum(state is JobState.RUNNING for state, _ in states(ledger)))
        run(desk, lease)

    monkeypatch.setattr(worker, "run_job", look)
    monkeypatch.setattr(worker, "writing", Unheard(*unheard).writing)
    work(bench, monkeypatch, waits=len(unheard) + 1)
    assert states(ledger) == [(JobState.SEGMENTED, 0)] * jobs
    assert seen == [1] * jobs
    assert events_of_job(bench)[:4] == ["created", "claimed", "claim was not heard of", "claimed"]


def test_a_worker_that_may_take_no_more_gives_back_what_it_claimed_unheard(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card in Ray whose launcher is on duty no more."""
    monkeypatch.setattr(worker, "writing", Unheard(1).writing)
    assert worker.claim(bench.desk) is None
    assert states(ledger) == [(JobState.RUNNING, 0)]
    work(bench, monkeypatch, 1, OnBehalf())
    assert states(ledger) == [(JobState.QUEUED, 0)]


def test_a_host_that_is_drained_while_its_worker_waits_to_claim_takes_no_job(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may write for long meanwhile, and `drain --wait` has ended."""
    host = bench.desk.config.host_name
    with writing(ledger) as session:
        hosts.register(session, host, storage="s1", version="1", address="north:11443")

    @contextmanager
    def late(engine: Engine) -> Iterator[Session]:
        with writing(engine) as session:
            hosts.set_draining(session, host, True, who="anna", why="new driver")
        with reading(engine) as session:
            assert jobs_on(session, host) == []
        with writing(engine) as session:
            yield session

    monkeypatch.setattr(worker, "writing", late)
    assert worker.claim(bench.desk) is None
    assert states(ledger) == [(JobState.QUEUED, 0)]
    assert not bench.desk.in_doubt.is_set()
