"""`models activate, rollback, show`: a person decides which version serves, by name and reason."""

import io
import re

import pytest
import yaml
from rich.console import Console

from rtseg_daemon.bundles import Bundle, Golden, installed_models, load_bundle
from rtseg_daemon.cli import common
from rtseg_daemon.cli import models as models_command
from rtseg_daemon.demo import golden
from rtseg_daemon.errors import BundleError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Event
from tests.tiny import make_bundle
from tests.unit.cli.test_commands import Desk, desk

__all__ = ["desk"]


def test_activate_and_rollback_are_in_the_events_and_in_models_show(desk: Desk) -> None:
    make_bundle(desk.config.parent / "models", version="2.0")
    done = desk.ask("models", "activate", "tiny", "2.0", "--why", "commissioned on 40 cases")
    assert (done["before"], done["after"], done["noted"], done["golden"]) == ("1.0", "2.0", True, "none recorded")
    shown = desk.ask("models", "show", "tiny")
    assert (shown["version"], shown["versions"]) == ("2.0", ["1.0", "2.0"])
    assert shown["activations"][0]["why"] == "commissioned on 40 cases"
    assert desk.ask("models", "show", "tiny@1.0")["version"] == "1.0"
    status, out, _ = desk.run("models", "rollback", "tiny", "--why", "parotids too large")
    assert (status, out) == (0, "tiny 1.0 serves (before: 2.0); golden cases: not run again; routes: all\n")
    with reading(desk.ledger) as session:
        found = [(event.what, event.detail["why"]) for event in session.query(Event) if event.subject == "bundle"]
    assert found == [("activated", "commissioned on 40 cases"), ("rolled back", "parotids too large")]


def test_a_reason_is_required_and_a_version_must_be_there(desk: Desk) -> None:
    make_bundle(desk.config.parent / "models", version="2.0")
    status, _, err = desk.run("models", "activate", "tiny", "2.0")
    assert (status, "--why" in err) == (2, True)
    assert desk.run("models", "activate", "tiny", "2.0", "--why", " ")[0] == 2
    status, _, err = desk.run("models", "activate", "tiny", "9", "--why", "new")
    assert status == 1
    assert "bundle tiny has no version 9" in err
    status, _, err = desk.run("models", "rollback", "tiny", "--why", "bad")
    assert status == 1
    assert "no version of tiny served before the present one" in err


def test_without_a_ledger_the_switch_is_made_and_the_daemon_is_said_to_note_it(desk: Desk) -> None:
    make_bundle(desk.config.parent / "models", version="2.0")
    (desk.layout.directory / "rtseg.db").unlink()
    status, _, err = desk.run("models", "activate", "tiny", "2.0", "--why", "new")
    assert (status, "no ledger took note of it now; the daemon does when it runs" in err) == (0, True)
    assert load_bundle(desk.config.parent / "models", "tiny").version == "2.0"


def test_a_research_version_does_not_get_into_a_route_that_is_not_for_research(desk: Desk) -> None:
    make_bundle(desk.config.parent / "models", version="2.0", intended_use="research")
    status, _, err = desk.run("models", "activate", "tiny", "2.0", "--why", "new")
    assert status == 1
    assert "bundle tiny is for research only and route 'all' does not say `research: true`; it may not serve" in err


def test_a_version_that_falls_on_a_golden_case_is_not_activated(desk: Desk) -> None:
    folder = make_bundle(desk.config.parent / "models", version="2.0")
    document = yaml.safe_load((folder / "bundle.yaml").read_text())
    document["golden"] = [{"seed": 1, "matrix": 64, "dice": {"Brainstem": 0.8}}]
    (folder / "bundle.yaml").write_text(yaml.safe_dump(document))
    desk.monkeypatch.setattr(golden, "dice_of", lambda *_: {"Brainstem": 0.5})
    status, _, err = desk.run("models", "activate", "tiny", "2.0", "--why", "new")
    assert status == 1
    assert "tiny 2.0 may not serve: on golden case 1 Brainstem falls from Dice 0.800 to 0.500" in err
    assert load_bundle(desk.config.parent / "models", "tiny").version == "1.0"
    desk.monkeypatch.setattr(golden, "dice_of", lambda *_: {"Brainstem": 0.79})
    found = desk.ask("models", "activate", "tiny", "2.0", "--why", "new")["golden"]
    assert found == "1 golden cases with 1 figures hold"


def test_a_golden_case_of_a_patient_says_where_it_is_looked_for(desk: Desk) -> None:
    patient = Golden(file="golden-1.npz", sha256="0" * 64, dice={"Brainstem": 0.8})
    bundle = Bundle.model_construct(name="tiny", version="2.0", golden=[patient])
    with pytest.raises(BundleError, match=r"golden-1\.npz is a patient's .* with --golden-folder, or as"):
        golden.check(bundle, None, None)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"golden case .*golden-1\.npz is missing; copy it there from where"):
        golden.check(bundle, None, desk.config.parent)  # type: ignore[arg-type]


def test_a_rerun_may_name_a_version_and_is_another_run_of_the_bundle(desk: Desk) -> None:
    make_bundle(desk.config.parent / "models", version="2.0")
    job = str(desk.job())
    again = desk.ask("jobs", "rerun", job, "--bundle", "tiny@1.0", "--no-send")
    assert again["bundle"] == "tiny@1.0"
    assert desk.ask("jobs", "show", str(again["id"]))["run"] == 2, "its structure set must not have the first one's UID"
    status, _, err = desk.run("jobs", "rerun", job, "--bundle", "tiny@7")
    assert (status, "bundle tiny has no version 7" in err) == (1, True)


@pytest.mark.parametrize("name", ["han-oar", "han-gtv"])
def test_models_show_fits_80_columns(desk: Desk, name: str) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    desk.monkeypatch.setattr(common, "out", console)
    models_command.show(name)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert any(line.startswith("organ") and "REVIEW below" in line for line in lines)
    digest = load_bundle(installed_models(), name).digest
    assert any(digest in line for line in lines), "what is compared by eye is not folded"


def test_config_check_says_which_organs_have_no_calibration(desk: Desk) -> None:
    path = desk.config.parent / "models" / "tiny" / "bundle.yaml"
    document = yaml.safe_load(path.read_text())
    del document["classes"][1]["calibration"]
    path.write_text(yaml.safe_dump(document))
    status, _, err = desk.run("config", "check", str(desk.config), config=False)
    assert status == 0
    assert "bundle tiny 1.0 has no calibration for SpinalCord: these are REVIEW at best" in err
