"""A receiver whose ledger is in PostgreSQL: what it acknowledges lasts, though connections and the server end."""

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.schema import Instance, Series
from rtseg_daemon.ledger.states import InstanceState
from tests.faults.conftest import series
from tests.integration.test_receive import saved
from tests.peers import ENVIRONMENT, program
from tests.postgres import Server
from tests.receiver import Receiver, running

pytestmark = pytest.mark.peers
IMAGES = 30


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.new_ledger()


@pytest.fixture
def receiver(tmp_path: Path, url: str) -> Iterator[Receiver]:
    yield from running(tmp_path, database={"url": url})


@pytest.fixture
def ledger(url: str) -> Iterator[Engine]:
    engine = open_ledger(url)
    yield engine
    engine.dispose()


def sending(receiver: Receiver, files: list[Path]) -> "subprocess.Popen[str]":
    """dcmtk's storescu at work. It ends at the first image that is refused."""
    command = [program("storescu"), "-aet", "PACS", "-aec", "RTSEG", "127.0.0.1", str(receiver.port), *map(str, files)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)


def kept(ledger: Engine, receiver: Receiver) -> int:
    """How many images the ledger has. Each has its file."""
    with reading(ledger) as session:
        paths = [row.path for row in session.query(Instance).where(Instance.state == InstanceState.KEPT)]
        assert session.query(Series).count() <= 1
    assert all((receiver.storage / path).is_file() for path in paths)
    return len(set(paths))


def test_a_server_that_is_down_when_images_come_costs_time_and_no_image(
    receiver: Receiver, postgres: Server, ledger: Engine, tmp_path: Path
) -> None:
    files = saved(series("postgres", IMAGES), tmp_path)
    postgres.stop("immediate")
    process = sending(receiver, files)
    time.sleep(1.0)
    assert process.poll() is None, "the first image is not answered while nothing can be committed"
    postgres.start()
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told + receiver.logged()
    assert kept(ledger, receiver) == IMAGES
    assert "the connection to the ledger was lost; trying again" in receiver.logged()


def test_connections_that_are_killed_all_the_time_lose_nothing_that_was_acknowledged(
    receiver: Receiver, postgres: Server, ledger: Engine, tmp_path: Path
) -> None:
    files = saved(series("killed", IMAGES), tmp_path)
    done = threading.Event()
    kills, chance = [0], random.Random(24)

    def kill() -> None:
        while not (kills[0] and done.wait(chance.uniform(0.3, 1.5))):
            postgres.do(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'rtseg-daemon' AND state != 'idle'"
            )
            kills[0] += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        process = sending(receiver, files)
        told, _ = process.communicate(timeout=60)
    finally:
        done.set()
        killer.join()
    assert process.returncode == 0, told + receiver.logged()
    assert kept(ledger, receiver) == IMAGES
    assert kills[0] > 0
