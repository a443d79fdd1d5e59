"""`feedback list|show|map` and `status`: what came back, for people and programs, and names explained."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from rtseg_daemon import cli
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.storage import Layout
from tests.clinic import Clinic, moved, renamed
from tests.dashboard import empty_ledger


class Commands:
    """A clinic where two sets came back, one with a name that nobody knows."""

    def __init__(self, folder: Path) -> None:
        Layout(folder / "storage").create()
        (folder / "storage" / "rtseg.db").write_bytes(empty_ledger())
        self.engine = open_ledger(f"sqlite:///{folder / 'storage' / 'rtseg.db'}")
        self.clinic = Clinic(folder, self.engine)
        self.config = folder / "config.yaml"
        case = self.clinic.deliver()
        self.first = self.clinic.comes_back(case.edited(moved("Parotid_L", x=2.0))).id
        self.second = self.clinic.comes_back(case.edited(renamed(Parotid_R="mystery"))).id

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.app, [*arguments, "--config", str(self.config)])

    def ask(self, *arguments: str) -> object:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    made = Commands(tmp_path_factory.mktemp("commands"))
    yield made
    made.engine.dispose()


def test_list_shows_every_set_newest_first_and_by_state(commands: Commands) -> None:
    found = commands.ask("feedback", "list")
    assert [(one["id"], one["approval"]) for one in found] == [  # type: ignore[attr-defined]
        (commands.second, "APPROVED"),
        (commands.first, "APPROVED"),
    ]
    text = commands.run("feedback", "list").stdout
    assert "PHANTOM1" in text
    assert "MEASURED" in text
    assert "none" in commands.run("feedback", "list", "--state", "WAITING").stdout


def test_show_has_figures_and_history(commands: Commands) -> None:
    text = commands.run("feedback", "show", str(commands.first)).stdout
    assert "Parotid_L" in text
    assert "came back" in text
    done = commands.run("feedback", "show", "999")
    assert done.exit_code != 0
    assert "there is no returned structure set 999" in str(done.exception)


def test_status_counts_what_came_back(commands: Commands) -> None:
    returned = commands.ask("status")["returned"]  # type: ignore[index]
    assert sum(returned.values()) == 2
    assert set(returned) == {"RECEIVED", "WAITING", "PAIRED", "NAMES", "MEASURED", "APART"}


def test_a_name_is_explained_and_the_set_measured_anew(commands: Commands) -> None:
    assert commands.clinic.row(commands.second).state == "NAMES"
    wrong = commands.run("feedback", "map", "mystery", "Parotid_X")
    assert wrong.exit_code != 0
    assert "no organ that is known here" in str(wrong.exception)
    done = commands.run("feedback", "map", "mystery", "Parotid_R", "--why", "she drew it")
    assert "'mystery' is Parotid_R" in done.stdout
    commands.clinic.work()
    assert commands.clinic.row(commands.second).state == "MEASURED"
    [said] = commands.ask("feedback", "map")  # type: ignore[misc]
    assert (said["name"], said["organ"], said["why"]) == ("mystery", "Parotid_R", "she drew it")


def test_a_name_of_another_side_is_refused_and_usage_is_checked(commands: Commands) -> None:
    refused = commands.run("feedback", "map", "Parotis links", "Parotid_R")
    assert "names the left side" in str(refused.exception)
    assert commands.run("feedback", "map", "x").exit_code == 2
    assert commands.run("feedback", "map", "x", "Brainstem", "--none").exit_code == 2
    assert "none of our organs" in commands.run("feedback", "map", "Bolus", "--none").stdout
