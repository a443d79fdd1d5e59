"""What must be true before anything starts."""

import os
import signal
import socket
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon import startup
from rtseg_daemon.daemon.children import Child, Modules, children_of
from rtseg_daemon.daemon.startup import (
    check_certificates,
    check_cluster,
    prepare_ledger,
    routed_bundles,
    unknown_organs,
    wait_for_port,
)
from rtseg_daemon.daemon.supervisor import Supervisor
from rtseg_daemon.errors import ClusterError, ConfigError, LedgerError, StorageError
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.migrate import TOLERATED_KEY, require_current
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.storage import Layout, lock_storage
from rtseg_daemon.upkeep.chores import Upkeep
from rtseg_daemon.upkeep.direct import DirectAlarms
from tests import structure_sets
from tests.tiny import make_bundle
from tests.world import wait_for, write_config


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "storage")
    layout.create()
    return layout


def test_cards_in_ray_are_not_begun_without_ray_or_its_token(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asking(token: Path | None) -> Config:
        compute = config.compute.model_copy(update={"cluster": "auto", "cluster_token": token})
        return config.model_copy(update={"compute": compute})

    check_cluster(config)
    monkeypatch.setattr(startup, "require_ray", lambda: None)
    check_cluster(asking(None))
    with pytest.raises(ConfigError, match=r"compute\.cluster_token: .*/token cannot be read"):
        check_cluster(asking(tmp_path / "token"))

    def missing() -> None:
        raise ClusterError("Ray is not installed")

    monkeypatch.setattr(startup, "require_ray", missing)
    with pytest.raises(ConfigError, match=r"compute\.cluster: Ray is not installed"):
        check_cluster(asking(None))


def test_a_launcher_runs_where_there_are_cards_in_ray_and_nowhere_else(config: Config, tmp_path: Path) -> None:
    def names(config: Config) -> list[str]:
        return [child.name for child in children_of(config, tmp_path / "config.yaml", 0, "", Modules())]

    compute = config.compute.model_copy(update={"cluster": "auto", "device": "cpu"})
    assert "launcher" not in names(config)
    assert "launcher" in names(config.model_copy(update={"compute": compute}))


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StorageError, match=f"cannot listen on 127.0.0.1:{port}"):
            wait_for_port("127.0.0.1", port, 0.1)
    wait_for_port("127.0.0.1", port, 0.1)


def test_the_lock_is_held_by_one_and_free_when_it_is_gone(layout: Layout) -> None:
    lock = lock_storage(layout, 0.1)
    with pytest.raises(StorageError, match="another daemon works on"):
        lock_storage(layout, 0.1)
    os.close(lock)
    os.close(lock_storage(layout, 0.1))


def test_folders_are_for_this_user_alone(layout: Layout) -> None:
    assert {oct(path.stat().st_mode & 0o777) for path in layout.directory.iterdir()} == {"0o700"}


def test_a_storage_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"storage\.directory .*file/storage"):
        Layout(tmp_path / "file" / "storage").create()


def test_a_research_bundle_needs_a_route_that_says_so(tmp_path: Path) -> None:
    make_bundle(tmp_path / "models", intended_use="research")
    config = load_config(write_config(tmp_path, 1))
    with pytest.raises(
        ConfigError, match="bundle tiny is for research only and route 'all' does not say `research: true`"
    ):
        list(routed_bundles(config))


def test_a_route_for_research_runs_it_and_a_joined_route_must_be_one_too(tmp_path: Path) -> None:
    make_bundle(tmp_path / "models")
    make_bundle(tmp_path / "models", "trial", intended_use="research")
    route = {"name": "all", "match": {}, "bundle": ["tiny", "trial"], "structure_sets": "joined"}
    with pytest.raises(ConfigError, match="bundle trial is for research only"):
        list(routed_bundles(load_config(write_config(tmp_path, 1, routes=[route]))))
    allowed = load_config(write_config(tmp_path, 1, routes=[route | {"research": True}]))
    assert [bundle.name for bundle in routed_bundles(allowed)] == ["tiny", "trial"]


def test_a_bundle_that_is_not_there_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    """Exit status 2, so that no service manager starts the daemon again and again."""
    make_bundle(tmp_path / "models")
    config = load_config(write_config(tmp_path, 1, routes=[{"name": "hn", "match": {}, "bundle": "tinny"}]))
    with pytest.raises(ConfigError, match=r"route 'hn': no bundle 'tinny' in .*\(there: tiny\)"):
        list(routed_bundles(config))


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    tls = {"port": 2762, "certificate": "own.pem", "key": "own.key", "ca": "ca.pem"}
    config = load_config(write_config(tmp_path, 1, dicom={"port": 11112, "tls": tls}))
    with pytest.raises(ConfigError, match=r"own\.pem cannot be used"):
        check_certificates(config)


def test_only_the_ports_that_are_opened_must_be_free(tmp_path: Path) -> None:
    tls = {"port": 2762, "certificate": "own.pem", "key": "own.key", "ca": "ca.pem"}
    both = load_config(write_config(tmp_path, 1, dicom={"port": 11112, "tls": tls}))
    alone = load_config(write_config(tmp_path, 1, dicom={"port": 11112, "tls": tls | {"only": True}}))
    assert (both.dicom.ports, alone.dicom.ports) == ([11112, 2762], [2762])


def test_a_database_that_is_none_is_a_mistake_of_the_configuration() -> None:
    for url in ("nonsense", "sqlit:///a.db"):
        with pytest.raises(ConfigError, match=r"database\.url is no database"):
            open_ledger(url)


def test_a_child_that_does_not_stay_alive_raises_an_alarm_once(tmp_path: Path, layout: Layout) -> None:
    config = load_config(write_config(tmp_path, 1))
    engine = prepare_ledger(config, layout)
    nothing = os.open(os.devnull, os.O_RDONLY)
    child = Child("receiver", "tests.nothing_there", (), nothing)
    upkeep = Upkeep(config, layout, engine, receiver_pid=lambda: child.pid)
    supervisor = Supervisor(upkeep, [child], threading.Event(), DirectAlarms(config.alarms, layout.directory))

    def died(times: int) -> bool:
        child.start_at = 0.0
        supervisor.turn()
        return child.deaths >= times

    def alarms() -> list[str]:
        with reading(engine) as session:
            return [alarm.message for alarm in session.query(Alarm)]

    wait_for(lambda: died(2), 20)
    assert alarms() == []
    wait_for(lambda: died(5), 20)
    (told,) = alarms()
    assert told.startswith("receiver does not stay alive: receiver ended with exit status 1")
    child.send(signal.SIGKILL)
    if child.process is not None:
        child.process.wait()
    os.close(nothing)
    engine.dispose()


def test_organs_that_no_bundle_contours_are_named_with_the_likely_one(tmp_path: Path) -> None:
    make_bundle(tmp_path / "models")
    peer = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": 104}
    wishes = {"only": ["Brainstem", "SpinalCrod", "Brainstem^2"], "roi_names": {"SpinalCord": "Cord"}}
    config = load_config(write_config(tmp_path, 1, destinations=[peer | wishes]))
    assert list(unknown_organs(config, list(routed_bundles(config)))) == [
        "destination tps names SpinalCrod, which no routed bundle contours; did you mean SpinalCord?"
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Parotid_left", "Parotid_L"),
        ("LeftParotid", "Parotid_L"),
        ("ParotidL", "Parotid_L"),
        ("Partid_L", "Parotid_L"),
        ("Parotis", "Parotid_L or Parotid_R"),
        ("Parotiid", "Parotid_L or Parotid_R"),
        ("parotide dx", "Parotid_R"),
    ],
)
def test_no_organ_of_the_other_side_is_suggested(tmp_path: Path, written: str, meant: str) -> None:
    peer = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": 104, "only": [written]}
    config = load_config(write_config(tmp_path, 1, destinations=[peer]))
    (line,) = unknown_organs(config, [structure_sets.tiny_bundle("Brainstem", "Parotid_L", "Parotid_R")])
    assert line.endswith(f"; did you mean {meant}?")


def test_an_organ_that_only_lies_on_the_other_side_is_not_suggested(tmp_path: Path) -> None:
    peer = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": 104, "only": ["Parotid_left"]}
    config = load_config(write_config(tmp_path, 1, destinations=[peer]))
    (line,) = unknown_organs(config, [structure_sets.tiny_bundle("Parotid_R")])
    assert "did you mean" not in line


def test_an_empty_ledger_is_made_and_an_old_one_is_backed_up_first(tmp_path: Path, layout: Layout) -> None:
    config = load_config(write_config(tmp_path, 1))
    engine = prepare_ledger(config, layout)
    require_current(engine)
    assert not list(layout.backup.iterdir())
    with engine.execution_options(write=True).begin() as connection:
        connection.execute(text("DROP TABLE alarm"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="schema 0000 is newer"):
        prepare_ledger(config, layout)


def test_a_newer_schema_that_has_changed_what_was_there_is_refused(tmp_path: Path, layout: Layout) -> None:
    config = load_config(write_config(tmp_path, 1))
    prepare_ledger(config, layout).dispose()
    with sqlite3.connect(layout.directory / "rtseg.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute(f"UPDATE setting SET value = '9999' WHERE key = '{TOLERATED_KEY}'")
    connection.close()
    with pytest.raises(LedgerError, match="schema 9999 is newer than this version"):
        prepare_ledger(config, layout)


def test_every_connection_is_durable_and_checks_foreign_keys(tmp_path: Path) -> None:
    engine = open_ledger(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert found == ["wal", 2]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() >= 5000
    engine.dispose()


def test_a_port_of_the_newer_protocol_is_tried_as_such() -> None:
    try:
        taken = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with taken, pytest.raises(StorageError, match="cannot listen on ::1"):
        wait_for_port("::1", taken.getsockname()[1], 0.1)
