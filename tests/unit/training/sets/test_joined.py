"""Several data sets as one, and what a group that is learned may not share with one that is held out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rtseg_training.cli.app import app
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.joined import doubts, listed, load_cases, refuse_shared
from rtseg_training.sets.manifest import MANIFEST, write_manifest
from typer.testing import CliRunner

from tests.unit.training.conftest import tiny_recipe, write_recipe

Make = Callable[..., Path]


@pytest.fixture
def make(case: Case, tmp_path: Path) -> Make:
    """A data set of cases `name: patient`. Each name's images differ by its number."""

    def one(folder: str, key: str = "k", shift: int = 0, **patients: str) -> Path:
        place = tmp_path / folder
        place.mkdir()
        entries = []
        for name, patient in patients.items():
            other = np.int16(sum(map(ord, name)) + shift)
            saved = save_case(replace(case, name=name, ct=case.ct.with_array(case.ct.array + other)), place)
            entries.append(saved | {"patient": patient})
        write_manifest(place, entries, "x", [], key)
        return place

    return one


def test_several_sets_are_one_in_their_order(make: Make) -> None:
    a, b = make("a", one="p1", two="p2"), make("b", three="p3")
    assert [c.name for c in load_cases(a, b)] == ["one", "two", "three"]
    assert [(one.name, one.patient) for one in listed(b, a)] == [("three", "p3"), ("one", "p1"), ("two", "p2")]


def test_a_case_in_two_sets_counts_once(make: Make) -> None:
    a, b = make("a", one="p1"), make("b", one="p1", two="p2")
    assert [one.name for one in listed(a, b, a)] == ["one", "two"]


def test_two_cases_of_one_name_are_refused(make: Make) -> None:
    a, b = make("a", one="p1"), make("b", shift=7, one="p1")
    with pytest.raises(CaseError, match=r"case one of .*b is another one than that of .*a: other images or other cont"):
        listed(a, b)


def test_the_same_patient_in_training_and_validation_is_refused(make: Make) -> None:
    """A re-planning CT: another series, other voxels, the same patient."""
    first, again = make("a", one="p1", two="p2"), make("b", replanned="p2")
    words = r"case replanned of .*b is of the same patient as case two of .*a; a patient that was learned"
    with pytest.raises(CaseError, match=words):
        refuse_shared([first], [again])


def test_any_of_several_sets_may_hold_the_patient(make: Make) -> None:
    a, b, c, d = make("a", one="p1"), make("b", two="p2"), make("c", three="p3"), make("d", four="p2")
    assert refuse_shared([a, b], [c]) == []
    with pytest.raises(CaseError, match=r"case four of .*d is of the same patient as case two of .*b"):
        refuse_shared([a, b], [c, d])


def test_train_refresh_and_export_refuse_the_same_patient(make: Make, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(steps=1), tmp_path / "recipe.yaml")
    first, again, more = make("a", one="p1"), make("b", two="p1"), make("c", three="p3")
    sets = ["--data", more, "--data", first, "--validation", again]
    for words in (
        ["train", recipe, *sets, "--out", tmp_path / "runs"],
        ["refresh", "models/han-oar", *sets, "--runs", tmp_path / "r", "--out", tmp_path / "x", "--version", "2"],
        ["export", tmp_path / "runs", "--recipe", recipe, "--members", "a", *sets, "--out", tmp_path / "tiny"],
    ):
        with pytest.raises(CaseError, match=r"case two of .* is of the same patient as case one"):
            CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert not (tmp_path / "runs").exists()


def test_every_set_that_is_given_is_trained_on(make: Make, tmp_path: Path) -> None:
    """Today's last one alone would leave the first out without a word."""
    from rtseg_training.learn.checkpoint import read_meta

    recipe = write_recipe(tiny_recipe(steps=1, arguments={"width": 2}), tmp_path / "recipe.yaml")
    words = ["--data", make("a", one="p1"), "--data", make("b", two="p2"), "--out", tmp_path / "runs", "--member", "a"]
    done = CliRunner().invoke(app, ["train", str(recipe), *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    learned = read_meta(tmp_path / "runs" / "a" / "checkpoint.safetensors")["learned"]
    assert [(name, patient) for name, _, patient in learned] == [("one", "p1"), ("two", "p2")]


def test_a_manifest_of_an_older_version_loads_and_says_that_its_patients_are_unknown(
    make: Make, data_set: Path
) -> None:
    old, new = make("a", key="", one=""), make("b", two="p2")
    (old / MANIFEST).write_text((old / MANIFEST).read_text().replace('"format": 2', '"format": 1'))
    assert [c.name for c in load_cases(old)] == ["one"]
    assert refuse_shared([old], [new]) == [
        f"{old}: the patient of 1 of 1 cases is unknown, so nobody can tell whether other cases are of the same "
        "patient; import the set again to know"
    ]


def test_sets_of_different_keys_are_said(make: Make) -> None:
    a, b = make("a", key="k1", one="p1"), make("b", key="k2", two="p2")
    (said,) = doubts([a, b])
    assert "were imported with different key files" in said
    assert "import them with one --key" in said
    assert doubts([a, a]) == []


def test_what_is_not_known_of_patients_is_said_on_the_screen(make: Make, tmp_path: Path) -> None:
    recipe = write_recipe(tiny_recipe(steps=1, arguments={"width": 2}), tmp_path / "recipe.yaml")
    words = ["--data", make("a", one=""), "--validation", make("b", two="p2"), "--out", tmp_path / "r", "--member", "a"]
    done = CliRunner().invoke(app, ["train", str(recipe), *map(str, words)], env={"COLUMNS": "400"})
    assert done.exit_code == 0, done.output
    assert "the patient of 1 of 1 cases is unknown" in done.output


def test_a_manifest_of_a_newer_version_is_refused(make: Make) -> None:
    folder = make("a", one="p1")
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(CaseError, match=r"manifest\.json was written by a newer version \(format 3\)"):
        listed(folder)
