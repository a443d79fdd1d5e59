"""Chores that one of several hosts does for all: never by two at a time, and nothing is written by one that lost it."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Alarms
from rtseg_daemon.errors import DutyLost
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.ledger.schema import Alarm, Setting
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import alarms, audit_trail
from rtseg_daemon.upkeep.channels import AlarmChannel
from rtseg_daemon.upkeep.chores import Chore, Hand, Housekeeper, Upkeep, chores_for
from tests.duties import take_over
from tests.unit.upkeep.test_housekeeping import no_receiver
from tests.world import wait_for

SECONDS = 2.0
"""How long a duty lasts here."""


@pytest.fixture
def upkeep(config: Config, layout: Layout, ledger: Engine) -> Upkeep:
    return Upkeep(config, layout, ledger, no_receiver, duty_owner="north/1")


def hand(upkeep: Upkeep, work: Callable[[Upkeep], None], name: str = "alarms") -> Hand:
    return Hand(Chore(name, 0.1, work, for_all=True), upkeep)


def test_a_chore_that_takes_longer_than_its_duty_lasts_is_done_by_one_host(upkeep: Upkeep) -> None:
    begun: list[str] = []

    def slow(at: Upkeep) -> None:
        begun.append(at.duty_owner)
        time.sleep(2.5 * SECONDS)

    keepers = [
        Housekeeper(replace(upkeep, duty_owner=f"{host}/1"), (Chore("alarms", 0.1, slow, for_all=True),))
        for host in ("north", "south")
    ]
    for keeper in keepers:
        keeper.hands[0].duty.seconds = SECONDS
        keeper.start()
    wait_for(lambda: bool(begun), 20)
    time.sleep(2.2 * SECONDS)
    at_once = list(begun)
    for keeper in keepers:
        keeper.stop(5 * SECONDS)
    assert len(at_once) == 1
    assert len(set(begun)) == 1, "it was not lost between two turns either"


@pytest.mark.parametrize("use", [reading, writing])
def test_a_chore_that_lost_its_duty_writes_nothing_and_reads_nothing(
    upkeep: Upkeep, ledger: Engine, use: Callable[[Engine], object]
) -> None:
    def outlived(at: Upkeep) -> None:
        take_over(ledger, "alarms")
        with use(at.engine):  # type: ignore[attr-defined]
            pytest.fail("it is another host's by now")

    stale = hand(upkeep, outlived)
    stale._turn()
    assert stale.overdue(time.monotonic()) is None, "another host does it, and nobody need be told"
    assert "alarms" in upkeep.finished


@pytest.mark.parametrize("name", [chore.name for chore in chores_for(Config()) if chore.for_all])
def test_no_chore_that_is_done_for_all_uses_the_ledger_without_its_duty(
    upkeep: Upkeep, ledger: Engine, name: str
) -> None:
    """What the chores themselves do: with a duty that is lost each ends by that error."""
    chore = next(one for one in chores_for(upkeep.config) if one.name == name)
    duty = OnDuty(ledger, name, "north/1")
    assert duty.ours()
    take_over(ledger, name)
    route = upkeep.config.routes[0].model_copy(update={"shadow": ("tiny",)})
    config = upkeep.config.model_copy(update={"alarms": Alarms(at_once=["HELD"]), "routes": (route,)})
    with pytest.raises(DutyLost):
        chore.work(replace(upkeep, config=config, engine=duty.ledger))


def test_a_chore_of_each_host_for_itself_has_no_duty(upkeep: Upkeep) -> None:
    seen: list[Engine] = []
    own = Hand(Chore("metrics", 1.0, lambda at: seen.append(at.engine)), upkeep)
    own._turn()
    assert seen == [upkeep.engine]


def test_an_alarm_is_mailed_by_nobody_who_lost_the_duty_while_another_channel_took_it(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailed: list[str] = []

    def slow(_alarm: Alarm) -> str:
        take_over(ledger, "alarms")
        return "HTTP 204"

    ways = {
        "webhook": AlarmChannel("webhook", "hook.example", slow),
        "mail": AlarmChannel("mail", "mail.example", lambda alarm: mailed.append(alarm.message) or "taken"),
    }
    monkeypatch.setattr(alarms, "channels", lambda _settings: ways)
    with writing(ledger) as session:
        raise_alarm(session, "late", "late:1", "series 1 is late")
    duty = OnDuty(ledger, "alarms", "north/1")
    assert duty.ours()
    with pytest.raises(DutyLost):
        alarms.send_pending(duty.ledger, Alarms(), alarms.Pauses())
    assert mailed == []
    with reading(ledger) as session:
        assert session.get_one(Alarm, 1).attempts == 0


def test_the_audit_trail_is_not_written_by_one_that_lost_the_duty_while_it_read(
    ledger: Engine, config: Config, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = audit_trail.told_by_event

    def slow(session: object, event: object) -> object:
        take_over(ledger, "audit")
        return told(session, event)  # type: ignore[arg-type]

    monkeypatch.setattr(audit_trail, "told_by_event", slow)
    with writing(ledger) as session:
        record_event(session, "job", 1, "released", who="anna")
    duty = OnDuty(ledger, "audit", "north/1")
    assert duty.ours()
    with pytest.raises(DutyLost):
        audit_trail.write_new(duty.ledger, config)
    assert not config.audit_file.exists()
    with reading(ledger) as session:
        assert session.get(Setting, audit_trail.EVENTS_SEEN) is None


def test_a_chore_that_is_still_at_work_when_its_daemon_ends_is_not_laid_down(upkeep: Upkeep) -> None:
    over, begun = threading.Event(), threading.Event()

    def stands_still(_upkeep: Upkeep) -> None:
        begun.set()
        over.wait(60)

    slow = Chore("alarms", 0.05, stands_still, for_all=True)
    keeper = Housekeeper(upkeep, (slow, Chore("sweep", 0.05, lambda _: None, for_all=True)))
    keeper.start()
    assert begun.wait(20)
    keeper.stop(0.5)
    assert keeper.ended() == ["sweep"]
    over.set()
    keeper.hands[0].join(20)
