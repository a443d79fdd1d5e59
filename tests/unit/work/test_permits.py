"""A worker that may take jobs only at times: without its permit it claims and loads nothing."""

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.daemon import worker
from rtseg_daemon.daemon.permits import OnBehalf, WhileRayRests
from rtseg_daemon.ledger.cards import DUTY, Card, CardsInRay, note_cards
from rtseg_daemon.ledger.duties import take
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.jobs import create_job
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from tests.unit.work.bench import Bench

CARDS = CardsInRay("up", 0.0, "ray://head:10001", cards=(Card("a-0", "gpu1", 0, "GPU", "ready", 0.0),))


@dataclass
class Rounds:
    """Each wait for work lets the next thing happen, and after the last one the worker stops."""

    stop: threading.Event
    steps: list[Any]
    waited: int = field(default=0)

    def wait(self, *_: Any) -> None:
        if self.waited == len(self.steps):
            self.stop.set()
            return
        self.waited += 1
        self.steps[self.waited - 1]()


def states(ledger: Engine) -> list[JobState]:
    with reading(ledger) as session:
        return [job.state for job in session.query(Job).order_by(Job.id)]


def feed(ledger: Engine, seconds: float = 30.0) -> None:
    """A card in Ray takes the jobs for so long."""
    with writing(ledger) as session:
        take(session, DUTY, "north/launcher-1", seconds)
        note_cards(session, CARDS)


def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, permit: Any, *steps: Any) -> None:
    stop = threading.Event()
    monkeypatch.setattr(worker, "Bell", lambda *_: Rounds(stop, list(steps)))
    worker.work(bench.desk, stop, permit)


def test_a_worker_of_the_daemon_waits_while_ray_is_fed_and_does_the_job_when_it_is_not(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[JobState, int]] = []

    def look() -> None:
        seen.append((states(ledger)[0], len(bench.desk.loaded.segmenters)))

    def rest() -> None:
        look()
        feed(ledger, -1.0)

    def back() -> None:
        look()
        feed(ledger)

    feed(ledger)
    run(bench, monkeypatch, WhileRayRests(), rest, back, look)
    assert seen == [(JobState.QUEUED, 0), (JobState.SEGMENTED, 1), (JobState.SEGMENTED, 0)]


def test_a_worker_that_claims_when_ray_takes_over_in_between_gets_nothing(bench: Bench, ledger: Engine) -> None:
    permit = WhileRayRests()
    assert worker.is_given(bench.desk, permit)
    feed(ledger)
    assert worker.claim(bench.desk, permit) is None
    assert states(ledger) == [JobState.QUEUED]


def test_a_card_takes_jobs_for_the_launcher_on_duty_alone_and_stays_warm_a_while_without(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(ledger)
    permit = OnBehalf()
    told: list[tuple[bool, JobState]] = []

    def look() -> None:
        told.append((permit.loaded, states(ledger)[-1]))

    def asked() -> None:
        look()
        permit.launcher = ("north/launcher-1", 1)

    def another() -> None:
        look()
        with writing(ledger) as session:
            take(session, DUTY, "north/launcher-1", -1.0)
            take(session, DUTY, "south/launcher-9")
            job = session.get_one(Job, 1)
            create_job(session, job.series_id, job.last_instance_id, job.bundle, job.route, run=2)

    def impatient() -> None:
        look()
        permit.patience_seconds = 0.0

    run(bench, monkeypatch, permit, asked, another, impatient, look)
    assert told == [
        (False, JobState.QUEUED),
        (True, JobState.SEGMENTED),
        (True, JobState.QUEUED),
        (False, JobState.QUEUED),
    ]


def test_a_ledger_that_does_not_answer_takes_nothing_away(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(OnBehalf):
        def given(self, session: Session) -> bool:
            session.connection().exec_driver_sql("SELECT nothing FROM nowhere")
            return True

    assert worker.is_given(bench.desk, Silent()) is None
