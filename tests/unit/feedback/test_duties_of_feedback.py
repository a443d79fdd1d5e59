"""What one of several hosts does for all on what came back: it ends where another host does it by now."""

import threading
from dataclasses import replace

import pytest

from rtseg_daemon.errors import DutyLost
from rtseg_daemon.feedback import loop as module
from rtseg_daemon.feedback import polling
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.feedback.polling import POLL, Poll
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading
from tests.clinic import Clinic
from tests.duties import take_over

COMPARE = "compare candidates"


def test_candidates_are_compared_by_nobody_who_lost_the_duty(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def slow(desk: Desk) -> bool:
        take_over(clinic.ledger, COMPARE)
        asked.append(True)
        with reading(desk.engine):
            pytest.fail("it is another host's by now")

    monkeypatch.setattr(module, "measure_one", slow)
    loop = replace(clinic.loop, compares=OnDuty(clinic.ledger, COMPARE, "north/1"))
    assert loop.compare() is False
    assert loop.compare() is False
    assert asked == [True], "it has learned that it is another's"


def test_query_peers_are_polled_by_nobody_who_lost_the_duty(clinic: Clinic) -> None:
    poll = Poll(clinic.loop.desk, threading.Event(), duty=OnDuty(clinic.ledger, POLL, "north/1"))
    assert poll.on_duty.ours()
    poll.turn()
    take_over(clinic.ledger, POLL)
    with pytest.raises(DutyLost):
        poll.turn()


def test_a_host_between_two_polls_keeps_the_duty(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "TURN_SECONDS", 0.1)
    stop, seconds = threading.Event(), 2.0
    poll = Poll(clinic.loop.desk, stop, duty=OnDuty(clinic.ledger, POLL, "north/1", seconds=seconds))
    poll.polled_at = poll.clock()
    other = OnDuty(clinic.ledger, POLL, "south/1", seconds=seconds)
    poll.start()
    assert not stop.wait(0.5)
    for _ in range(int(2.5 * seconds / 0.25)):
        assert not other.ours()
        stop.wait(0.25)
    stop.set()
    poll.join(10)
