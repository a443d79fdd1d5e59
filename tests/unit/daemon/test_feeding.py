"""The launcher's turns against a Ray that is played: what it starts, ends, writes, and when another takes over."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon import feeding as module
from rtseg_daemon.daemon.feeding import Feeding
from rtseg_daemon.errors import ClusterError, DutyLost
from rtseg_daemon.ledger.cards import DUTY, CardsInRay, cards_in_ray, ray_feeds
from rtseg_daemon.ledger.duties import OnDuty, lay_down
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.jobs import claim_job
from rtseg_daemon.ledger.schema import Alarm, Job
from rtseg_daemon.ledger.states import JobState
from tests.duties import take_over
from tests.unit.ledger.test_jobs import new_job
from tests.world import write_config

NODE = {"id": "0123456789abcdef0123", "name": "gpu1", "kind": "GPU", "cards": 1}
NAME = "0123456789abcdef-0"
OWNER = "card-0@ray:gpu1/7-abc"
SAID: dict[str, Any] = {"owner": OWNER, "version": "1.0", "fault": "", "ready": True}


@dataclass
class PlayedRay:
    """A line to nodes and actors that a test made up."""

    nodes: list[dict[str, Any]] = field(default_factory=lambda: [NODE])
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    away: str = ""
    done: list[tuple[str, str]] = field(default_factory=list)
    followed: list[tuple[str, int]] = field(default_factory=list)

    def ask(self, do: str, seconds: float = 0.0, /, **arguments: Any) -> dict[str, Any]:
        if self.away:
            raise ClusterError(self.away)
        if do == "look":
            self.followed.append((arguments["owner"], arguments["token"]))
            return {"nodes": self.nodes, "cards": self.cards}
        self.done.append((do, arguments["name"]))
        return {}

    def close(self) -> None: ...


@pytest.fixture
def ray() -> PlayedRay:
    return PlayedRay()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path, 1, jobs={"max_attempts": 3, "timeout_seconds": 900}))


@pytest.fixture
def launcher(ledger: Engine, ray: PlayedRay, config: Config) -> Callable[[str], Feeding]:
    def connect() -> PlayedRay:
        if ray.away:
            raise ClusterError(ray.away)
        return ray

    def make(host: str) -> Feeding:
        return Feeding(OnDuty(ledger, DUTY, f"{host}/launcher-1"), config, connect, "1.0", ("/etc/rtseg.yaml",))

    return make


@dataclass
class Seen:
    """The ledger, as others see it."""

    engine: Engine

    @property
    def cards(self) -> CardsInRay:
        with reading(self.engine) as session:
            seen = cards_in_ray(session)
        assert seen is not None
        return seen

    @property
    def fed(self) -> bool:
        with reading(self.engine) as session:
            return ray_feeds(session)

    def claim(self, owner: str = OWNER) -> int:
        """A job that this worker is at."""
        job = new_job(self.engine)
        with writing(self.engine) as session:
            claim_job(session, owner)
        return job

    def job(self, number: int) -> tuple[JobState, int]:
        with reading(self.engine) as session:
            job = session.get_one(Job, number)
            return job.state, job.attempts


@pytest.fixture
def seen(ledger: Engine) -> Seen:
    return Seen(ledger)


def test_a_card_without_an_actor_gets_one_and_is_ready_when_that_says_so(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north = launcher("north")
    north.turn()
    assert ray.done == [("start", NAME)]
    assert seen.fed, "the daemon has just started, and the card will be there soon"
    ray.cards = {NAME: SAID}
    north.turn()
    assert ray.done == [("start", NAME)]
    assert [card.state for card in seen.cards.cards] == ["ready"]
    assert ray.followed[-1] == ("north/launcher-1", 1)


def test_of_two_launchers_one_is_on_duty_and_the_other_takes_over_with_a_larger_number(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north, south = launcher("north"), launcher("south")
    ray.cards = {NAME: SAID}
    north.turn()
    south.turn()
    assert ray.followed == [("north/launcher-1", 1)]
    north.stop()
    south.duty.asked_at = float("-inf")
    south.turn()
    assert ray.followed[-1] == ("south/launcher-1", 2)
    assert ray.done == [], "the actors stay"


def test_the_job_of_a_card_whose_process_died_is_taken_up_at_once_and_workers_wait_for_it(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north = launcher("north")
    ray.cards = {NAME: SAID}
    north.turn()
    job = seen.claim()
    ray.cards = {NAME: {"silent": "is being restarted"}}
    north.turn()
    assert seen.job(job) == (JobState.RUNNING, 0)
    ray.cards = {NAME: SAID | {"owner": "card-0@ray:gpu1/8-def", "ready": False}}
    north.turn()
    assert seen.job(job) == (JobState.QUEUED, 1)
    assert seen.fed


def test_a_card_that_dies_again_and_again_before_it_is_ready_is_not_waited_for(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north = launcher("north")
    ray.cards = {NAME: SAID | {"ready": False}}
    north.turn()
    before = seen.cards.patience_until
    ray.cards = {NAME: SAID | {"owner": "card-0@ray:gpu1/8-def", "ready": False}}
    north.turn()
    assert seen.cards.patience_until == before


def test_a_launcher_that_takes_over_finds_what_died_meanwhile(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north, south = launcher("north"), launcher("south")
    ray.cards = {NAME: SAID}
    north.turn()
    job = seen.claim()
    north.duty.lay_down()
    ray.nodes, ray.cards = [], {NAME: {"silent": "its node is gone"}}
    south.turn()
    assert seen.job(job) == (JobState.QUEUED, 1)
    assert ray.done == [("end", NAME)]


def test_while_the_head_is_away_workers_of_the_daemons_take_the_jobs_and_running_ones_stay(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north = launcher("north")
    ray.cards = {NAME: SAID}
    north.turn()
    job = seen.claim()
    assert seen.fed
    ray.away = "no Ray head answers at head:6379"
    north.turn()
    assert not seen.fed
    assert (seen.cards.head, seen.cards.detail) == ("away", ray.away)
    assert seen.job(job) == (JobState.RUNNING, 0)
    north.retry_at = 0.0
    north.turn()
    assert not seen.fed, "trying again is no reason to wait"
    ray.away, north.retry_at = "", 0.0
    ray.cards = {NAME: SAID | {"ready": False}}
    north.turn()
    assert not seen.fed, "the workers go on until a card is ready"
    ray.cards = {NAME: SAID}
    north.turn()
    assert seen.fed


def test_a_launcher_that_was_away_and_does_not_know_it_writes_nothing(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen, ledger: Engine
) -> None:
    north, south = launcher("north"), launcher("south")
    ray.cards = {NAME: SAID}
    north.turn()
    with writing(ledger) as session:
        lay_down(session, "north/launcher-1", [DUTY])
    south.turn()
    written, job = seen.cards, seen.claim()
    ray.cards = {NAME: SAID | {"owner": "card-0@ray:gpu1/8-def"}}
    with pytest.raises(DutyLost, match="cards in Ray is now the duty of south/launcher-1"):
        north.turn()
    assert (seen.cards, seen.job(job)) == (written, (JobState.RUNNING, 0))
    north.duty.asked_at = float("-inf")
    asked = len(ray.followed)
    north.turn()
    assert len(ray.followed) == asked, "it rests now"


def test_a_launcher_that_took_too_long_to_connect_touches_no_card(
    launcher: Callable[[str], Feeding], ray: PlayedRay, ledger: Engine
) -> None:
    def slow() -> PlayedRay:
        take_over(ledger, DUTY)
        return ray

    north = launcher("north")
    north.connect = slow
    with pytest.raises(DutyLost):
        north.turn()
    assert (ray.followed, ray.done) == ([], [])


def test_another_host_may_try_a_head_that_is_away_for_this_one(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north, south = launcher("north"), launcher("south")
    ray.away = "no Ray head answers"
    north.turn()
    ray.away, ray.cards = "", {NAME: SAID}
    north.turn()
    assert ray.followed == [], "it leaves the other one time"
    south.turn()
    assert ray.followed == [("south/launcher-1", 2)]
    assert seen.fed


def test_a_card_of_another_version_is_refused_by_name_and_started_anew_when_it_is_at_no_job(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    north = launcher("north")
    ray.cards = {NAME: SAID | {"fault": "this node runs rtseg-daemon 0.9, and the daemon that asks 1.0"}}
    job = seen.claim()
    north.turn()
    assert [card.state for card in seen.cards.cards] == ["refused"]
    with reading(ledger) as session:
        (message,) = session.scalars(select(Alarm.message))
    assert message.startswith("card 0 of gpu1 in Ray takes no jobs: this node runs rtseg-daemon 0.9")
    monkeypatch.setattr(module, "ANEW_SECONDS", 0.0)
    north.turn()
    assert ray.done == [], "it is at a job"
    with writing(ledger) as session:
        session.get_one(Job, job).lease_owner = "worker-0@north/1-abc"
    north.turn()
    assert ray.done == [("end", NAME), ("start", NAME)]


def test_a_card_whose_job_does_not_come_on_is_started_anew(
    launcher: Callable[[str], Feeding], ray: PlayedRay, seen: Seen
) -> None:
    north = launcher("north")
    ray.cards = {NAME: SAID}
    north.turn()
    job = seen.claim()
    north.turn()
    north.watch.timeout_seconds = -1.0
    north.turn()
    assert seen.job(job) == (JobState.QUEUED, 1)
    assert ray.done == [("end", NAME)]
