"""A commit that brings work wakes who waits for it."""

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger import hosts, jobs
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.leases import lease_of
from rtseg_daemon.ledger.wake import DELIVERIES, JOBS, Bell, tell
from tests.arrivals import receive
from tests.postgres import Server
from tests.unit.ledger.test_jobs import OUTCOME, arrival

SHORT, LONG = 0.05, 10.0


@pytest.fixture
def ledger_kind() -> str:
    return "postgresql"


@pytest.fixture
def bells(ledger: Engine) -> Iterator[dict[str, Bell]]:
    """Both listen already."""
    found = {channel: Bell(ledger, channel) for channel in (JOBS, DELIVERIES)}
    for bell in found.values():
        bell.wait(threading.Event(), SHORT, LONG)
        assert bell.connection is not None
    yield found
    for bell in found.values():
        bell.close()


def waited(bell: Bell, longest: float = LONG) -> float:
    began = time.monotonic()
    bell.wait(threading.Event(), SHORT, longest)
    return time.monotonic() - began


def new_job(ledger: Engine) -> int:
    with writing(ledger) as session:
        series = receive(session, arrival()).series_id
        return jobs.create_job(session, series, 1, "tiny", "all").id


def test_a_new_job_wakes_a_worker_and_its_end_the_deliverer(ledger: Engine, bells: dict[str, Bell]) -> None:
    threading.Timer(0.3, new_job, [ledger]).start()
    assert 0.2 < waited(bells[JOBS]) < LONG / 2
    with writing(ledger) as session:
        job = jobs.claim_job(session, "w")
        assert job is not None
        jobs.finish_segmentation(session, lease_of(job), OUTCOME, ["tps"])
    assert waited(bells[DELIVERIES]) < LONG / 2
    assert waited(bells[JOBS], 0.5) >= 0.5, "a claim is no work for others"


def test_a_job_that_is_queued_again_wakes_too(ledger: Engine, bells: dict[str, Bell]) -> None:
    new_job(ledger)
    waited(bells[JOBS])
    with writing(ledger) as session:
        job = jobs.claim_job(session, "w")
        assert job is not None
        jobs.make_way(session, lease_of(job))
    assert waited(bells[JOBS]) < LONG / 2


def test_a_host_that_takes_jobs_again_begins_at_once(ledger: Engine, bells: dict[str, Bell]) -> None:
    with writing(ledger) as session:
        hosts.register(session, "here", storage="a", version="1")
        hosts.set_draining(session, "here", True, who="physicist", why="a new card")
    assert waited(bells[JOBS], 0.5) >= 0.5
    with writing(ledger) as session:
        hosts.set_draining(session, "here", False, who="physicist", why="it is in")
    assert waited(bells[JOBS]) < LONG / 2


def test_nothing_wakes_anybody_that_was_not_committed(ledger: Engine, bells: dict[str, Bell]) -> None:
    with writing(ledger) as session:
        tell(session, JOBS)
        session.rollback()
    assert waited(bells[JOBS], 0.5) >= 0.5


def test_a_wait_ends_when_it_is_told_to(bells: dict[str, Bell]) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    bells[JOBS].wait(stop, SHORT, LONG)
    assert time.monotonic() - began < LONG / 2


def test_a_bell_whose_connection_ended_polls_and_then_rings_again(
    ledger: Engine, bells: dict[str, Bell], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtseg_daemon.ledger.wake.RECONNECT_SECONDS", 0.3)
    postgres.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'")
    assert waited(bells[JOBS]) < LONG / 2
    assert bells[JOBS].connection is None
    deadline = time.monotonic() + LONG
    while bells[JOBS].connection is None and time.monotonic() < deadline:
        assert waited(bells[JOBS]) < LONG / 2
    new_job(ledger)
    assert waited(bells[JOBS]) < LONG / 2
