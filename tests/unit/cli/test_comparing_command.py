"""`models compare`, and what `models activate` demands of a version where another one contours live cases."""

import pytest

from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.ledger.comparison_tables import MeasuredContours
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from tests.compared import Organ, live_cases
from tests.tiny import make_bundle
from tests.unit.cli.test_commands import Desk, desk

__all__ = ["desk"]

BETTER, WORSE = {"Brainstem": Organ(0.9, 0.80, 0.84)}, {"Brainstem": Organ(0.9, 0.80, 0.70)}


@pytest.fixture
def digests(desk: Desk) -> tuple[str, str]:
    models = desk.config.parent / "models"
    make_bundle(models, version="2.0", members=1)
    return load_bundle(models, "tiny").digest, load_bundle(models, "tiny@2.0").digest


def test_compare_shows_organs_with_intervals_and_the_cases_that_differ_most(
    desk: Desk, digests: tuple[str, str]
) -> None:
    live_cases(desk.ledger, digests, [BETTER] * 4)
    status, out, _ = desk.run("models", "compare", "tiny", "tiny@2.0")
    assert status == 0
    assert out.startswith("A: tiny 1.0. B: tiny 2.0. 4 cases of 4 patients, 4 measured, 4 with approved contours\n")
    line = next(line for line in out.splitlines() if line.startswith("Brainstem"))
    figures = "Brainstem 4 0.900 4 0 0.800 0.840 +0.040 +0.040 to +0.040 4 0"
    assert line.split() == figures.split()
    shape = desk.ask("models", "compare", "tiny", "tiny@2.0")
    assert len(shape["most_different"]) == 4
    assert desk.run("models", "compare", "tiny", "tiny@3.0")[0] == 1


def test_a_version_without_enough_shadow_cases_does_not_take_the_place_of_one_that_lives(
    desk: Desk, digests: tuple[str, str]
) -> None:
    live_cases(desk.ledger, digests, [BETTER] * 29)
    status, _, err = desk.run("models", "activate", "tiny", "2.0", "--why", "new")
    assert status == 1
    assert "tiny 2.0 may not serve: it has 29 shadow cases that were compared, and 30 are demanded" in err
    assert "`rtseg-daemon models compare tiny tiny@2.0` shows the figures" in err
    assert load_bundle(desk.config.parent / "models", "tiny").version == "1.0"


def test_thirty_good_shadow_cases_let_it_serve_and_stand_in_the_record(desk: Desk, digests: tuple[str, str]) -> None:
    live_cases(desk.ledger, digests, [BETTER] * 30)
    done = desk.ask("models", "activate", "tiny", "2.0", "--why", "better brainstem")
    assert done["golden"] == "none recorded; 30 shadow cases against 1.0, 30 of them approved"


def test_a_version_with_a_worse_organ_does_not_serve(desk: Desk, digests: tuple[str, str]) -> None:
    live_cases(desk.ledger, digests, [WORSE] * 30)
    status, _, err = desk.run("models", "activate", "tiny", "2.0", "--why", "new")
    assert status == 1
    assert "Brainstem is worse: Dice -0.100" in err


def test_where_nothing_was_delivered_yet_no_shadow_is_asked_for(desk: Desk, digests: tuple[str, str]) -> None:
    live_cases(desk.ledger, digests, [BETTER])
    with writing(desk.ledger) as session:
        session.get_one(Job, 1).state = JobState.QUEUED
    assert desk.ask("models", "activate", "tiny", "2.0", "--why", "commissioned")["golden"] == "none recorded"


def test_what_is_demanded_is_a_setting(desk: Desk, digests: tuple[str, str]) -> None:
    live_cases(desk.ledger, digests, [WORSE] * 2)
    text = desk.config.read_text()
    demanded = "promotion: {shadow_cases: 2, margin: 0.2}"
    models = f"directory: {desk.config.parent / 'models'}"
    assert models in text
    desk.config.write_text(text.replace(models, f"{models}\n  {demanded}"))
    assert desk.ask("models", "activate", "tiny", "2.0", "--why", "known to be smaller")["after"] == "2.0"


def test_a_rollback_asks_for_no_shadow(desk: Desk, digests: tuple[str, str]) -> None:
    live_cases(desk.ledger, digests, [BETTER] * 30)
    desk.ask("models", "activate", "tiny", "2.0", "--why", "better")
    assert desk.ask("models", "rollback", "tiny", "--why", "worse")["after"] == "1.0"


def test_compare_measures_what_is_due_and_says_what_could_not_be(desk: Desk, digests: tuple[str, str]) -> None:
    live_cases(desk.ledger, digests, [BETTER], measured=False)
    shape = desk.ask("models", "compare", "tiny", "tiny@2.0")
    assert (shape["cases"], shape["measured"], shape["pictures"]) == (1, 0, [])
    with reading(desk.ledger) as session:
        troubles = [row.trouble for row in session.query(MeasuredContours)]
    assert len(troubles) == 3
    assert all(trouble for trouble in troubles), "no file is there"
