"""Two daemons with one ledger and one storage directory, as on a file system that both mount: no file travels."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtseg_daemon.config.file import load_config
from rtseg_daemon.storage import layout_of
from tests.postgres import Server
from tests.world import Daemon, Tps, free_port, patient, send, wait_for, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(scope="module")
def tps() -> Iterator[Tps]:
    played = Tps()
    with played.running():
        yield played


@pytest.fixture(scope="module")
def hosts(postgres: Server, tps: Tps, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Daemon]]:
    folder = tmp_path_factory.mktemp("shared")
    url, storage = postgres.new_database(), str(folder / "storage")
    daemons = []
    for name in ("east", "west"):
        (folder / name).mkdir()
        config = write_config(
            folder / name,
            tps.port,
            database={"url": url, "host_name": name},
            storage={"directory": storage, "minimum_free_gb": 0, "shared": True},
            series={"quiet_seconds": 2},
        )
        daemons.append(Daemon(config, folder / name / "daemon.log"))
    started = []
    try:
        for daemon in daemons:
            started.append(daemon)
            daemon.start()
        yield daemons[0], daemons[1]
    finally:
        for daemon in started:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.stop()


def test_what_one_receives_the_other_contours_where_it_lies(hosts: tuple[Daemon, Daemon], tmp_path: Path) -> None:
    east, west = hosts
    assert east.command("drain", "east", "--why", "maintenance").returncode == 0
    files = patient(tmp_path / "ct", seed=1)
    assert set(send(east.port, files[:9])) == {0}
    assert set(send(west.port, files[9:])) == {0}
    job = east.wait_for_state("DELIVERED", 120)
    assert Path(job["rtstruct_path"]).is_file()
    assert [one["rtstruct_path"] for one in west.jobs()] == [job["rtstruct_path"]]
    layout = layout_of(load_config(east.config))
    assert len([path for path in layout.series.rglob("*.dcm") if path.is_file()]) == len(files)
    assert not layout.shelves.exists()
    assert east.command("drain", "east", "--why", "done", "--undo").returncode == 0


def test_each_keeps_for_itself_what_no_other_may_touch(hosts: tuple[Daemon, Daemon]) -> None:
    folders = [layout_of(load_config(daemon.config)).own for daemon in hosts]
    assert folders[0] != folders[1]
    for folder in folders:
        wait_for(lambda folder=folder: (folder / "metrics.prom").is_file(), 30)
        assert {"incoming", "lock", "audit.log"} <= {path.name for path in folder.iterdir()}
    assert not (folders[0].parents[1] / "incoming").exists()


def test_a_receiver_that_starts_again_leaves_alone_what_the_other_is_receiving(hosts: tuple[Daemon, Daemon]) -> None:
    east, west = hosts
    coming = layout_of(load_config(west.config)).incoming / "4711-1.part"
    coming.write_bytes(b"half an image")
    unknown = layout_of(load_config(west.config)).series / "2026-11-27" / f"{'ab' * 32}.dcm"
    unknown.parent.mkdir(exist_ok=True)
    unknown.write_bytes(b"on its way into the ledger")
    try:
        east.stop()
        east.start()
        assert coming.read_bytes() == b"half an image"
        assert unknown.is_file()
        assert not [line for line in east.log.read_text().splitlines() if "the ledger does not know" in line]
        assert east.command("doctor").returncode in (0, 1)
        assert unknown.is_file()
    finally:
        coming.unlink(missing_ok=True)
        unknown.unlink(missing_ok=True)


def test_a_daemon_that_thinks_it_has_the_directory_alone_does_not_start(
    hosts: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    text = (
        hosts[0]
        .config.read_text()
        .replace("shared: true", "shared: false")
        .replace("host_name: east", "host_name: alone")
    )
    config = tmp_path / "config.yaml"
    config.write_text(text.replace(f"port: {hosts[0].port}", f"port: {free_port()}"))
    done = Daemon(config, tmp_path / "log").command("serve")
    assert done.returncode == 1
    assert "daemons of several hosts work on" in done.stderr
    assert "set storage.shared" in done.stderr


def test_both_are_up_and_one_sweeps(hosts: tuple[Daemon, Daemon]) -> None:
    shapes = hosts[1].ask("status")["hosts"]
    assert [(one["name"], one["state"]) for one in shapes] == [("east", "up"), ("west", "up")]
    assert sum("sweep" in one["duties"] for one in shapes) == 1
    assert load_config(hosts[0].config).own_folder.is_dir()
