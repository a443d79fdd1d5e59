"""Hosts whose clocks differ by minutes: who has what, and until when, is the database's clock alone."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger import hosts, orphans
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.host_views import host_shapes
from rtseg_daemon.ledger.jobs import claim_job, create_job, heartbeat
from rtseg_daemon.ledger.leases import LEASE_SECONDS, lease_of
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import last_instance_id
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

SHIFTS = (-600.0, 600.0)
SHORT = 1.0
Shift = Callable[[float], None]


@pytest.fixture
def ledger_kind() -> str:
    """Several hosts have a server. A file has one host, and its clock."""
    return "postgresql"


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Shift:
    """Set the clock of whoever acts next so many seconds ahead."""
    true = time.time

    def set_ahead(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: true() + seconds)

    return set_ahead


@pytest.mark.parametrize("seconds", SHIFTS)
def test_a_host_whose_clock_is_off_takes_no_duty_from_one_that_lives(
    ledger: Engine, shift: Shift, seconds: float
) -> None:
    right, wrong = OnDuty(ledger, "sweep", "right/1"), OnDuty(ledger, "sweep", "wrong/1")
    assert right.ours()
    shift(seconds)
    assert not wrong.ours()
    shift(0.0)
    right.lay_down()
    shift(seconds)
    wrong.asked_at = float("-inf")
    assert wrong.ours()
    shift(0.0)
    right.asked_at = float("-inf")
    assert not right.ours(), "what the other wrote with its wrong clock holds as long as it should"


@pytest.mark.parametrize("seconds", SHIFTS)
def test_a_duty_is_taken_over_within_two_leases_by_a_host_whose_clock_is_off(
    ledger: Engine, shift: Shift, seconds: float
) -> None:
    gone = OnDuty(ledger, "sweep", "gone/1", seconds=SHORT)
    assert gone.ours()
    began = time.monotonic()
    shift(seconds)
    heir = OnDuty(ledger, "sweep", "heir/1", seconds=SHORT)
    while not heir.ours():
        assert time.monotonic() - began < 2 * SHORT
        time.sleep(0.05)
    assert time.monotonic() - began >= SHORT - 0.1, "and not before its time has run out"


@pytest.mark.parametrize("seconds", SHIFTS)
def test_a_host_whose_clock_is_off_takes_up_no_job_of_a_worker_that_lives(
    ledger: Engine, shift: Shift, seconds: float
) -> None:
    with writing(ledger) as session:
        series = receive(session, arrival(1)).series_id
        job_id = create_job(session, series, last_instance_id(session, series), "tiny", "all").id
        claimed = claim_job(session, "worker-0@right/1-a")
        assert claimed is not None
        lease = lease_of(claimed)
    shift(seconds)
    with writing(ledger) as session:
        assert orphans.take_up_expired(session, 3) == []
        heartbeat(session, lease, "infer")  # by a worker with that clock
        until = session.get_one(Job, job_id).lease_until
    shift(0.0)
    assert until == pytest.approx(time.time() + LEASE_SECONDS, abs=30)


@pytest.mark.parametrize("seconds", SHIFTS)
def test_a_host_whose_clock_is_off_is_seen_and_sees_the_others(ledger: Engine, shift: Shift, seconds: float) -> None:
    with writing(ledger) as session:
        hosts.register(session, "right", storage="a", version="1", address="10.0.0.1:1")
    shift(seconds)
    with writing(ledger) as session:
        hosts.register(session, "wrong", storage="b", version="1", address="10.0.0.2:1")
        hosts.show(session, "wrong")
    with reading(ledger) as session:
        assert [shape["state"] for shape in host_shapes(session)] == ["up", "up"]
