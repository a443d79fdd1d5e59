"""A card of a Ray node: what it refuses to work with, by name, and a shelf that is its alone."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.card import LONELY_SECONDS, Card, other_version, own_shelf, require_fitting, require_hosts
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.storage import Layout, identity_of
from tests.world import ROOT, write_config


def test_a_node_of_another_version_is_refused_with_both_versions_and_what_to_do() -> None:
    assert other_version("1.2", "1.2") == ""
    said = other_version("1.1", "1.2")
    assert said.startswith("this node runs rtseg-daemon 1.1, and the daemon that asks 1.2: install 1.2 on the node")


def test_a_node_without_certificates_or_with_a_ledger_of_its_own_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"node\.yaml on this node needs the ledger's database\.url, and a cluster"):
        require_hosts(config, Path("/etc/rtseg-daemon/node.yaml"))
    tls = {name: str(tmp_path / name) for name in ("certificate", "key", "ca")}
    url = "postgresql://rtseg@db/rtseg"
    complete = load_config(write_config(tmp_path, 1, database={"url": url}, cluster={"tls": tls}))
    require_hosts(complete, Path("/etc/rtseg-daemon/node.yaml"))


def test_a_node_must_not_have_the_name_of_a_daemon_with_another_storage(
    ledger: Engine, config: Config, layout: Layout
) -> None:
    require_fitting(ledger, config, layout)
    with writing(ledger) as session:
        hosts.register(session, config.host_name, storage=identity_of(layout), version="1.0", address="here:11443")
    require_fitting(ledger, config, layout)
    with writing(ledger) as session:
        hosts.find(session, config.host_name).storage = "another"
    with pytest.raises(ConfigError, match=rf"a daemon is called {config.host_name} too.*database\.host_name"):
        require_fitting(ledger, config, layout)


def test_two_cards_of_one_storage_have_shelves_of_their_own_and_the_next_process_takes_them_up(layout: Layout) -> None:
    code = (
        "import sys; from pathlib import Path; from rtseg_daemon.daemon.card import own_shelf; "
        "from rtseg_daemon.storage import Layout; print(own_shelf(Layout(Path(sys.argv[1]))), flush=True); input()"
    )

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", code, str(layout.directory)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    with start() as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "card-0\n"
        assert own_shelf(layout) == "card-1"
        other.kill()
        other.wait()
    assert own_shelf(layout) == "card-0"


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A card whose worker does not begin."""
    monkeypatch.setattr(Card, "_live", lambda self: None)
    monkeypatch.delenv("RTSEG_CONFIG", raising=False)
    return Card(0, "gpu 1", "rtseg_card", str(tmp_path / "none.yaml"))


def test_a_card_takes_jobs_for_who_asks_with_its_own_version_and_for_nobody_else(card: Card) -> None:
    ours = version("rtseg-daemon")
    said = card.follow("north/launcher-1", 3, ours)
    assert card.owner.startswith("card-0@ray:gpu-1/")
    assert said == {"owner": card.owner, "version": ours, "fault": "", "ready": False}
    assert card.permit.launcher == ("north/launcher-1", 3)
    card.permit.note(True)
    assert card.follow("north/launcher-1", 3, ours)["ready"] is True
    refused = card.follow("south/launcher-1", 4, "0.0.1")
    assert (refused["ready"], card.permit.launcher) == (False, None)
    assert "0.0.1" in refused["fault"]


def test_a_card_that_cannot_work_says_why(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(_seconds: float) -> None:
        raise InterruptedError

    monkeypatch.setattr("rtseg_daemon.daemon.card.time.sleep", once)
    with pytest.raises(InterruptedError):
        card._desk()
    said = card.follow("north/launcher-1", 3, version("rtseg-daemon"))
    assert said["fault"].startswith("cannot read the configuration")
    assert said["ready"] is False


def test_a_card_that_nobody_asks_for_any_more_ends_itself_for_good(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[tuple[str, bool]] = []
    ray = SimpleNamespace(
        kill=lambda actor, no_restart: ended.append((actor, no_restart)),
        get_runtime_context=lambda: SimpleNamespace(current_actor="this actor"),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    card.permit.end_if_lonely()
    assert ended == []
    card.permit.asked_at -= LONELY_SECONDS + 1
    card.permit.end_if_lonely()
    assert ended == [("this actor", True)]
