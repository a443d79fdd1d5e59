"""A daemon with a card in a real Ray: where jobs run as actor, head and launcher come and go."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rtseg_daemon.cluster.ray_line import described
from rtseg_daemon.cluster.ray_probe import lets_everybody_in, require_head
from rtseg_daemon.config.file import load_config
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import ClusterError
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.host_views import card_shapes
from tests.certificates import Authority
from tests.postgres import Server
from tests.ray import LOCAL, Head
from tests.world import Daemon, Tps, free_port, patient, send, wait_for, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

DELIVERY_SECONDS = 180.0
QUIET_SECONDS = 4.0
"""Sending may pause so long, on a machine where a Ray starts beside it, and the series is still one job."""


@dataclass
class Site:
    """A daemon, its Ray, and a planning system."""

    daemon: Daemon
    head: Head
    tps: Tps
    hang: Path
    """While this file is there, jobs stand still in mid-inference."""
    count: int = 0

    def send(self, folder: Path) -> int:
        """The number of the job of a new series."""
        before = {job["id"] for job in self.daemon.jobs()}
        self.count += 1
        assert set(send(self.daemon.port, patient(folder, seed=self.count))) == {0}
        wait_for(lambda: len(self.daemon.jobs()) == self.count, 60, self.daemon.tail)
        (new,) = {int(job["id"]) for job in self.daemon.jobs()} - before
        return new

    def claims(self, job: int) -> list[str]:
        """Who claimed a job, one after the other."""
        return [str(one["who"]) for one in self.daemon.ask("jobs", "events", str(job)) if one["what"] == "claimed"]

    def cards(self) -> list[dict[str, Any]]:
        """As `status --json` has them, read from the ledger without starting a process."""
        engine = open_ledger(load_config(self.daemon.config).database_url)
        with reading(engine) as session:
            shapes = card_shapes(session)
        engine.dispose()
        return shapes

    def wait_for_card(self, state: str, job: int | None = None, seconds: float = 180) -> None:
        def there() -> bool:
            return [(card["state"], card["job"]) for card in self.cards()] == [(state, job)]

        wait_for(there, seconds, lambda: f"{self.cards()}\n{self.daemon.tail()}")


@pytest.fixture(scope="module")
def site(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    authority, tps, hang = Authority(folder / "ca"), Tps(), folder / "hang"
    head = Head({"STUB_HANG": str(hang), "RTSEG_CONFIG": str(folder / "node" / "config.yaml")})

    def tls(name: str) -> dict[str, str]:
        pair = authority.issue(name)
        return {"certificate": str(pair.certificate), "key": str(pair.key), "ca": str(authority.certificate)}

    database = {"url": postgres.new_database()}
    config = write_config(
        folder,
        tps.port,
        database=database | {"host_name": "north"},
        series={"quiet_seconds": QUIET_SECONDS},
        cluster={"port": free_port(), "tls": tls("north")},
        compute={"cluster": head.address, "cluster_token": str(head.token)},
    )
    (folder / "node").mkdir()
    write_config(
        folder / "node",
        tps.port,
        database=database | {"host_name": "node"},
        cluster={"tls": tls("node")},
        models={"directory": str(folder / "models")},
    )
    daemon = Daemon(config, folder / "daemon.log", environment=LOCAL | {"STUB_HANG": str(hang)})
    try:
        head.start()
        with tps.running():
            try:
                daemon.start()
                yield Site(daemon, head, tps, hang)
            finally:
                hang.unlink(missing_ok=True)
                if daemon.process is not None and daemon.process.poll() is None:
                    daemon.stop()
    finally:
        head.end()


def test_a_job_runs_on_the_card_in_ray_and_its_result_comes_home(site: Site, tmp_path: Path) -> None:
    site.wait_for_card("ready")
    job = site.daemon.wait_for_state("DELIVERED", DELIVERY_SECONDS, job=site.send(tmp_path / "ct"))
    (who,) = site.claims(job["id"])
    assert who.startswith("card-0@ray:")
    assert Path(job["rtstruct_path"]).is_relative_to(site.daemon.config.parent / "storage")
    assert [str(d.SOPInstanceUID) for d in site.tps.structure_sets] == [job["rtstruct_sop_instance_uid"]]
    assert list((site.daemon.config.parent / "node" / "storage" / "results").iterdir()) == []


def test_config_check_says_what_is_wrong_with_a_head_in_one_sentence(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, closed = f"ray://127.0.0.1:{site.head.client_port}", f"127.0.0.1:{free_port()}"
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)
    found = described(Compute(cluster=site.head.address, cluster_token=site.head.token))
    assert found == f"Ray 2.60.0 at {site.head.address} answers; cards: 1 on {socket.gethostname()}"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", site.head.token.read_text())
    require_head(site.head.address)
    require_head(client)
    with pytest.raises(ClusterError, match=f"no Ray head answers at {closed}; is it up"):
        require_head(closed)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    for address in (site.head.address, client):
        with pytest.raises(ClusterError, match=f"the Ray head at {address} refuses our token; let compute.cluster_tok"):
            require_head(address)


def test_ray_listens_on_the_address_named_and_everybody_needs_the_token(site: Site) -> None:
    inodes = {
        link.readlink().name
        for number in site.head.processes()
        for link in Path(f"/proc/{number}/fd").iterdir()
        if link.is_symlink()
    }
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    listening = [row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert not lets_everybody_in(site.head.address)
    assert not lets_everybody_in(f"ray://127.0.0.1:{site.head.client_port}")


def test_a_card_whose_process_is_killed_starts_anew_and_its_job_is_finished_once(site: Site, tmp_path: Path) -> None:
    site.hang.touch()
    number = site.send(tmp_path / "ct")
    site.wait_for_card("ready", number)
    site.head.kill("ray::RtsegCard")
    site.hang.unlink()
    job = site.daemon.wait_for_state("DELIVERED", DELIVERY_SECONDS, job=number)
    first, second = site.claims(number)
    assert first.startswith("card-0@ray:")
    assert second.startswith("card-0@ray:")
    assert first != second
    assert job["attempts"] == 1
    sent = [str(d.SOPInstanceUID) for d in site.tps.structure_sets]
    assert sent.count(job["rtstruct_sop_instance_uid"]) == 1


def test_while_the_head_is_away_running_jobs_end_and_new_ones_start_on_workers_of_the_daemon(
    site: Site, tmp_path: Path
) -> None:
    site.wait_for_card("ready")
    site.hang.touch()
    running = site.send(tmp_path / "running")
    site.wait_for_card("ready", running)
    site.head.kill("gcs_server")
    site.wait_for_card("away", running)
    site.hang.unlink()
    assert site.daemon.wait_for_state("DELIVERED", DELIVERY_SECONDS, job=running)["attempts"] == 0
    new = site.send(tmp_path / "new")
    site.daemon.wait_for_state("DELIVERED", DELIVERY_SECONDS, job=new)
    assert [who.partition("@")[0] for who in site.claims(running)] == ["card-0"]
    assert [who.partition("/")[0] for who in site.claims(new)] == ["worker-0@north"]


def test_when_the_head_is_back_cards_in_ray_take_the_jobs_again(site: Site, tmp_path: Path) -> None:
    site.head.kill()
    site.head.start()
    site.wait_for_card("ready")
    job = site.daemon.wait_for_state("DELIVERED", DELIVERY_SECONDS, job=site.send(tmp_path / "ct"))
    assert [who.partition("@")[0] for who in site.claims(job["id"])] == ["card-0"]
