"""The scheduler of periodic work: a clock that is set, a chore that stands still, a chore that is late."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo

import apscheduler.schedulers.base
import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import chores
from rtseg_daemon.upkeep.chores import Chore, Every, Hand, Housekeeper, Upkeep, astray, chores_for
from tests.unit.upkeep.test_housekeeping import no_receiver
from tests.world import wait_for


@pytest.fixture
def upkeep(config: Config, layout: Layout, ledger: Engine) -> Upkeep:
    return Upkeep(config, layout, ledger, no_receiver)


class WallClock(datetime):
    """A clock that the test sets: what the scheduler and its guard take for `datetime`."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "WallClock":
        return super().now(tz) + cls.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[WallClock]:
    WallClock.ahead = timedelta()
    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", WallClock)
    monkeypatch.setattr(chores, "datetime", WallClock)
    return WallClock


@contextmanager
def keeping(upkeep: Upkeep, *work: Chore) -> Iterator[Housekeeper]:
    keeper = Housekeeper(upkeep, work)
    keeper.start()
    yield keeper
    keeper.stop(5)


@pytest.mark.parametrize(
    "leap", [timedelta(hours=-2), timedelta(days=-400), timedelta(hours=2), timedelta(days=20_000)]
)
def test_a_clock_that_is_set_stops_no_periodic_work(upkeep: Upkeep, clock: type[WallClock], leap: timedelta) -> None:
    turns: list[float] = []
    with keeping(upkeep, Chore("sweep", 0.2, lambda _: turns.append(time.monotonic()))):
        wait_for(lambda: len(turns) > 2, 20)
        clock.ahead = leap
        set_at = time.monotonic()
        wait_for(lambda: sum(at > set_at for at in turns) > 3, 20)
        first = next(at for at in turns if at > set_at)
    assert first - set_at < 5
    assert len(turns) < 200, "a leap forward is one turn, and not one for every interval that it jumps over"


def test_a_turn_is_astray_only_where_it_lies_further_ahead_than_its_interval() -> None:
    now, hour = datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1)
    assert not astray(now + hour, now, hour)
    assert not astray(now - hour, now, hour)
    assert astray(now + 3 * hour, now, hour)


def test_the_next_turn_is_counted_from_now_however_long_ago_the_last_one_was() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert Every(5.0).get_next_fire_time(now - timedelta(days=9000), now) == now + timedelta(seconds=5)


def test_a_chore_that_stands_still_delays_no_other(upkeep: Upkeep) -> None:
    """A webhook that takes eight seconds for each of eight alarms, or trickles for ever."""
    over = threading.Event()
    turns: list[str] = []

    def stands_still(_upkeep: Upkeep) -> None:
        turns.append("alarms")
        over.wait(60)

    slow = Chore("alarms", 0.1, stands_still)
    with keeping(upkeep, slow, Chore("sweep", 0.1, lambda _: turns.append("sweep"))):
        wait_for(lambda: "alarms" in turns, 20)
        before = turns.count("sweep")
        wait_for(lambda: turns.count("sweep") > before + 5, 20)
        over.set()
    assert turns.count("alarms") >= 1


def test_one_chore_never_runs_beside_itself(upkeep: Upkeep) -> None:
    running, most, turns = 0, 0, 0

    def slow(_upkeep: Upkeep) -> None:
        nonlocal running, most, turns
        running += 1
        most, turns = max(most, running), turns + 1
        time.sleep(0.3)
        running -= 1

    with keeping(upkeep, Chore("backup", 0.05, slow)):
        wait_for(lambda: turns > 3, 20)
    assert most == 1


def test_a_chore_that_has_not_ended_well_for_too_long_is_overdue(upkeep: Upkeep) -> None:
    hand = Hand(Chore("sweep", 5.0, lambda _: None), upkeep)
    assert hand.overdue(hand.well_at + 74.9) is None
    assert hand.overdue(hand.well_at + 75.1) == pytest.approx(75.1)


def test_stopping_waits_for_all_chores_together_no_longer_than_it_may(upkeep: Upkeep) -> None:
    over = threading.Event()
    begun: list[str] = []

    def stands_still(_upkeep: Upkeep) -> None:
        begun.append("x")
        over.wait(60)

    keeper = Housekeeper(upkeep, tuple(Chore(f"chore {number}", 0.05, stands_still) for number in range(4)))
    keeper.start()
    wait_for(lambda: len(begun) == 4, 20)
    began = time.monotonic()
    keeper.stop(0.5)
    assert time.monotonic() - began < 3
    over.set()


def test_every_kind_of_work_with_another_machine_has_its_own_chore(config: Config) -> None:
    names = [chore.name for chore in chores_for(config)]
    assert {"sweep", "alarms", "audit", "audit collector", "backup"} <= set(names)
    assert len(names) == len(set(names))
