"""The whole daemon with its ledger in PostgreSQL: cases go through, also while the server is restarted."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_life_and_death import running
from tests.peers import Storescp, storescu
from tests.postgres import Server
from tests.world import Daemon, patient, wait_for

pytestmark = pytest.mark.peers


@pytest.fixture
def tps(tmp_path: Path) -> Iterator[Storescp]:
    with Storescp(tmp_path / "tps").running() as found:
        yield found


def delivered(daemon: Daemon, count: int) -> None:
    wait_for(lambda: [one["state"] for one in daemon.jobs()] == ["DELIVERED"] * count, 60, daemon.tail)


def test_cases_go_through_while_the_server_is_restarted_and_no_process_dies_of_it(
    tmp_path: Path, postgres: Server, tps: Storescp
) -> None:
    database = {"url": postgres.new_database(), "host_name": "ct-a"}
    with running(tmp_path, tps.port, {"STUB_SECONDS": "3"}, database=database) as daemon:
        storescu(daemon.port, patient(tmp_path / "first"))
        delivered(daemon, 1)
        storescu(daemon.port, patient(tmp_path / "second", seed=1))
        daemon.wait_for_state("RUNNING")
        children = daemon.pids()
        postgres.stop("immediate")
        time.sleep(2.0)
        postgres.start()
        delivered(daemon, 2)
        assert daemon.pids() == children
        assert [job["attempts"] for job in daemon.jobs()] == [0, 0]
        assert len(tps.structure_sets) == 2
        events = daemon.ask("jobs", "events", str(daemon.jobs()[0]["id"]))
        claims = [event["who"] for event in events if event["what"] == "claimed"]
        assert len(claims) == 1
        assert claims[0].startswith("worker-0@ct-a/")
