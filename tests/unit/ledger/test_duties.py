"""Work that one host does for all: one owner at a time, taken over when nothing is heard of it, and fenced off then."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import DutyLost
from rtseg_daemon.ledger.duties import OnDuty, duty_owner, lay_down, require, take
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Setting

NAME = "sweep"


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
        lay_down(session, "a/1")
    assert taken(ledger, "b/1") == 2, "what another has by now is not laid down"


def test_a_machine_alone_has_every_duty_and_writes_nothing(ledger: Engine) -> None:
    alone = OnDuty(ledger, NAME, "", alone=True)
    assert alone.ours()
    with alone.writing() as session:
        session.add(Setting(key="written", value="yes"))
    assert taken(ledger, "b/1") == 1
