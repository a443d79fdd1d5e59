"""Couriers of two hosts and a planning system that takes longer to answer than a duty lasts."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from sqlalchemy import Engine, select

from rtseg_daemon.deliver.courier import Courier
from rtseg_daemon.dicom.association import Waits
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Event
from tests.deliveries import World
from tests.world import Tps

SECONDS = 3.0
"""How long the duty lasts here."""


@pytest.fixture
def ledger_kind() -> str:
    """Several hosts have a server."""
    return "postgresql"


@contextmanager
def of_two_hosts(world: World, waits: Waits) -> Iterator[None]:
    stop = threading.Event()
    couriers = [
        Courier(
            world.ledger,
            world.config,
            world.config.destinations[0],
            stop,
            waits,
            duty=OnDuty(world.ledger, "deliver to tps", f"{host}/1", seconds=SECONDS),
        )
        for host in ("north", "south")
    ]
    for one in couriers:
        one.start()
    yield
    stop.set()
    for one in couriers:
        one.join(20)


def events(ledger: Engine) -> list[str]:
    with reading(ledger) as session:
        return list(session.scalars(select(Event.what).where(Event.subject == "delivery").order_by(Event.id)))


def test_a_slow_planning_system_gets_a_structure_set_once(ledger: Engine, tmp_path) -> None:
    def answer(_number: int, _dataset: Dataset) -> int:
        time.sleep(2.5 * SECONDS)
        return 0x0000

    tps = Tps(answer=answer)
    world = World(ledger, tmp_path, tps)
    world.job()
    with tps.running(), of_two_hosts(world, Waits(connect=2, associate=5, answer=30)):
        world.until_state("DELIVERED", seconds=30)
        time.sleep(SECONDS)
    assert tps.attempts == 1
    assert events(ledger).count("attempt") == 1


def test_one_that_does_not_answer_in_time_gets_it_from_the_same_host_again(ledger: Engine, tmp_path) -> None:
    """What the first attempt came to is not known. The second one is made when the first has ended, and not beside."""

    begun = itertools.count()

    def answer(_number: int, _dataset: Dataset) -> int:
        time.sleep(3 * SECONDS if next(begun) == 0 else 1.3 * SECONDS)
        return 0x0000

    tps = Tps(answer=answer)
    world = World(ledger, tmp_path, tps)
    world.job()
    with tps.running(), of_two_hosts(world, Waits(connect=2, associate=5, answer=2 * SECONDS)):
        world.until_state("DELIVERED", seconds=40)
        time.sleep(SECONDS)
    told = events(ledger)
    assert told.count("attempt") == 2
    assert "daemon restarted" not in told
