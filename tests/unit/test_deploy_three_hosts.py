"""The example of three hosts: what its script makes can be used, and its files agree with each other."""

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtseg_daemon.cluster.exchange import Exchange
from rtseg_daemon.config.cluster import HostTls
from rtseg_daemon.config.file import load_config
from rtseg_daemon.config.sections import Jobs
from rtseg_daemon.dicom.tls import client_context, server_context
from rtseg_daemon.stored import Stored
from tests.hosts import Room, answering

EXAMPLE = Path(__file__).parents[2] / "deploy" / "three-hosts"
HOSTS = ("north", "south", "east")


def prepare(out: Path, *names: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(EXAMPLE / "prepare.sh"), str(out), *names]
    places = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(command, env=places, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("three") / "hosts"
    done = prepare(out, *HOSTS, DOMAIN="localhost")
    assert done.returncode == 0, done.stderr
    return out


def tls_of(made: Path, name: str) -> HostTls:
    folder = made / name
    return HostTls(certificate=folder / "host.crt", key=folder / "host.key", ca=folder / "hosts-ca.crt")


@pytest.mark.parametrize("name", HOSTS)
def test_each_host_has_a_configuration_that_is_right_and_its_own(made: Path, name: str) -> None:
    config = load_config(made / name / "config.yaml")
    assert (config.host_name, config.files_host) == (name, name)
    assert config.cluster.shown_address == f"{name}.localhost:11443"
    assert config.database_url == "postgresql://rtseg@ledger/rtseg?passfile=/etc/rtseg/pgpass"
    assert {path.stat().st_mode & 0o077 for path in (made / name).iterdir()} == {0}
    assert (
        made / name / "pgpass"
    ).read_text() == f"ledger:5432:rtseg:rtseg:{(made / 'password').read_text().strip()}\n"


def test_its_certificates_serve_on_both_sides(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def by_name(host: str, *more: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "north.localhost" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", by_name)
    for name in HOSTS:
        server_context(tls_of(made, name))
        client_context(tls_of(made, name), "cluster.tls")
    room = Room(tmp_path)
    room.files[1] = tmp_path / "image"
    room.files[1].write_bytes(b"image")
    digest = "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"
    with answering(room, tls_of(made, "north")) as address:
        wanted = Stored("image/1", "image", digest, 5)
        named = address.replace("127.0.0.1", "north.localhost")
        Exchange(tls_of(made, "south")).fetch(named, wanted, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"image"


def test_said_again_it_changes_nothing_that_is_there(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert prepare(made, *HOSTS, DOMAIN="localhost").returncode == 0
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../north", "North", "ca", ""])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    done = prepare(tmp_path / "out", name)
    assert done.returncode == 2
    assert name in done.stderr


def test_compose_has_the_hosts_of_the_balancer_and_leaves_them_time_to_drain() -> None:
    services = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"]
    daemons = [name for name in services if name not in ("ledger", "balancer")]
    assert tuple(daemons) == HOSTS
    balanced = re.findall(r"^ *server (\S+) (\S+):11112$", (EXAMPLE / "haproxy.cfg").read_text(), re.MULTILINE)
    assert [name for name, _ in balanced] == [address for _, address in balanced] == daemons
    for name in daemons:
        assert f"./hosts/{name}:/etc/rtseg:ro" in services[name]["volumes"]
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > Jobs().shutdown_seconds
        assert services[name]["build"]["args"]["EXTRAS"] == "[postgresql]"
