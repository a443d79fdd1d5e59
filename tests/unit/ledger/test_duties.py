"""Work that one host does for all: one owner at a time, taken over when nothing is heard of it, and fenced off then."""

import threading
import time

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import DutyLost
from rtseg_daemon.ledger import duties
from rtseg_daemon.ledger.duties import OnDuty, duty_owner, lay_down, require, take
from rtseg_daemon.ledger.engine import reading, still_ours, writing
from rtseg_daemon.ledger.schema import Setting
from tests.duties import take_over
from tests.world import wait_for

NAME = "sweep"
SHORT = 2.0
"""Seconds. Somewhat longer than a thread may have to wait for its turn on a busy machine."""


def taken(ledger: Engine, owner: str, seconds: float = 30.0) -> int | None:
    with writing(ledger) as session:
        return take(session, NAME, owner, seconds)


def test_one_of_two_has_it_and_keeps_it(ledger: Engine) -> None:
    assert taken(ledger, "a/1") == 1
    assert taken(ledger, "b/1") is None
    assert taken(ledger, "a/1") == 1, "keeping it is no new claim"


def test_it_is_taken_over_when_its_time_has_run_out_and_the_token_grows(ledger: Engine) -> None:
    assert taken(ledger, "a/1", seconds=-1.0) == 1
    assert taken(ledger, "b/1") == 2
    assert taken(ledger, "a/1") is None


def test_one_that_was_away_and_does_not_know_it_writes_nothing(ledger: Engine) -> None:
    away = OnDuty(ledger, NAME, "a/1", seconds=30.0)
    assert away.ours()
    with writing(ledger) as session:
        take(session, NAME, "a/1", -1.0)
        assert take(session, NAME, "b/1") == 2
    assert away.ours(), "it has no reason to ask yet"
    with pytest.raises(DutyLost, match="sweep is now the duty of b/1"), away.writing() as session:
        session.add(Setting(key="written", value="late"))
    with reading(ledger) as session:
        assert session.get(Setting, "written") is None


def test_a_new_start_of_the_same_process_is_another_owner(ledger: Engine) -> None:
    first, second = duty_owner("deliverer", "a"), duty_owner("deliverer", "a")
    assert first != second
    assert taken(ledger, first) == 1
    with writing(ledger) as session, pytest.raises(DutyLost):
        require(session, NAME, second, 1)


def test_one_that_ends_in_order_leaves_it_to_the_next_at_once(ledger: Engine) -> None:
    ending, next_one = OnDuty(ledger, NAME, "a/1"), OnDuty(ledger, NAME, "b/1")
    assert ending.ours()
    assert not next_one.ours()
    ending.lay_down()
    next_one.asked_at = float("-inf")
    assert next_one.ours()
    with writing(ledger) as session:
        lay_down(session, "a/1", [NAME])
    assert taken(ledger, "b/1") == 2, "what another has by now is not laid down"


def test_only_what_nobody_is_at_any_more_is_laid_down(ledger: Engine) -> None:
    at_it, done = OnDuty(ledger, NAME, "a/1"), OnDuty(ledger, "lateness", "a/1")
    assert at_it.ours()
    assert done.ours()
    done.lay_down()
    assert taken(ledger, "b/1") is None
    assert OnDuty(ledger, "lateness", "b/1").ours()


def at_work() -> bool:
    return any(thread.name == "lease" for thread in threading.enumerate())


def test_who_is_at_something_keeps_his_duty_however_long_it_takes(ledger: Engine) -> None:
    slow, other = OnDuty(ledger, NAME, "a/1", seconds=SHORT), OnDuty(ledger, NAME, "b/1", seconds=SHORT)
    assert slow.ours()
    until = time.monotonic() + 2.5 * SHORT
    with slow.kept():
        while time.monotonic() < until:
            assert not other.ours()
            time.sleep(0.1)
        with writing(slow.ledger) as session:
            session.add(Setting(key="written", value="yes"))
    assert not at_work()


def test_who_lost_his_duty_can_neither_read_nor_write_nor_get_it_back_meanwhile(ledger: Engine) -> None:
    away = OnDuty(ledger, NAME, "a/1", seconds=SHORT)
    assert away.ours()
    with away.kept():
        assert take_over(ledger, NAME, "b/1") == 2
        wait_for(lambda: not at_work(), 20)
        for use in (reading, writing):
            with pytest.raises(DutyLost), use(away.ledger):
                pass
        with pytest.raises(DutyLost):
            still_ours(away.ledger)
        with pytest.raises(DutyLost):
            away.renew()
    assert not away.ours()


def test_a_loss_is_seen_by_the_next_look_also_before_it_is_time_to_renew(ledger: Engine) -> None:
    away = OnDuty(ledger, NAME, "a/1")
    assert away.ours()
    with away.kept():
        still_ours(away.ledger)
        take_over(ledger, NAME, "b/1")
        with pytest.raises(DutyLost, match="sweep is now the duty of b/1"):
            still_ours(away.ledger)
    assert not away.ours(), "it asks at once"


def test_work_that_hangs_is_let_go_and_what_goes_on_is_not(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duties, "PATIENCE_SECONDS", SHORT)
    hung, living = OnDuty(ledger, NAME, "a/1", seconds=SHORT), OnDuty(ledger, "drift", "a/1", seconds=SHORT)
    assert hung.ours()
    assert living.ours()
    with hung.kept(), living.kept():
        heir = OnDuty(ledger, NAME, "b/1", seconds=SHORT)
        until = time.monotonic() + 20
        while not heir.ours():
            still_ours(living.ledger)
            assert time.monotonic() < until
            time.sleep(0.1)
        with pytest.raises(DutyLost):
            still_ours(hung.ledger)
        still_ours(living.ledger)


def test_a_machine_alone_has_every_duty_and_writes_nothing(ledger: Engine) -> None:
    alone = OnDuty(ledger, NAME, "", alone=True)
    assert alone.ours()
    assert alone.ledger is ledger
    with alone.kept():
        assert not at_work()
        alone.renew()
        with alone.writing() as session:
            session.add(Setting(key="written", value="yes"))
    assert taken(ledger, "b/1") == 1
