"""Data sets divided by their patients."""

from pathlib import Path

import numpy as np
import pytest
from rtseg_training.cli.app import app
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.joined import listed, load_cases, refuse_shared
from rtseg_training.sets.manifest import write_manifest
from rtseg_training.sets.split import cases_to_split, in_folds, kept_aside, shuffled, steadily_aside
from typer.testing import CliRunner, Result

from rtseg_daemon.anatomy.volume import Volume


def small(name: str, hu: int = 0) -> Case:
    """A case of a few voxels."""
    ct = Volume(np.full((2, 3, 4), hu, np.int16), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return Case(name, ct, np.ones((2, 3, 4), np.uint32), ("Brainstem",), {"Brainstem": "drawn"})


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """Ten cases of seven patients."""
    place = tmp_path / "all"
    place.mkdir()
    whose = [0, 1, 2, 3, 4, 5, 6, 0, 1, 0]
    entries = [save_case(small(f"case{k}", k), place) | {"patient": f"pt_{who}"} for k, who in enumerate(whose)]
    write_manifest(place, entries, "x", [], "key")
    return place


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["split", *map(str, words)], catch_exceptions=False)


def names(*parts: Path) -> set[str]:
    return {one.name for part in parts for one in listed(part)}


def test_folds_hold_every_case_once_and_no_patient_twice(ten: Path, tmp_path: Path) -> None:
    done = run(ten, "--folds", 3)
    assert done.exit_code == 0
    place = tmp_path / "all-split"
    held = [place / f"fold-{k}" / "validation" for k in (1, 2, 3)]
    assert sum(len(listed(part)) for part in held) == 10
    assert names(*held) == names(ten)
    for part in held:
        train = part.parent / "train"
        assert names(train) | names(part) == names(ten)
        assert refuse_shared([train], [part]) == []
    assert f"{place}/fold-1/train: " in done.output


def test_a_share_of_the_patients_is_held_out(ten: Path, tmp_path: Path) -> None:
    run(ten, "--held-out", 0.3, "--out", tmp_path / "parts")
    held, train = listed(tmp_path / "parts" / "held-out"), listed(tmp_path / "parts" / "train")
    assert len({one.patient for one in held}) == 2
    assert len({one.patient for one in train}) == 5
    assert not {one.patient for one in held} & {one.patient for one in train}


def test_the_parts_are_sets_that_every_command_reads_and_nothing_is_copied(ten: Path, tmp_path: Path) -> None:
    run(ten, "--held-out", 0.3, "--out", tmp_path / "parts")
    assert len(load_cases(tmp_path / "parts" / "train", tmp_path / "parts" / "held-out")) == 10
    assert not list((tmp_path / "parts").rglob("*.npz"))
    assert {case.patient for case in load_cases(ten)} == {f"pt_{k}" for k in range(7)}
    run(tmp_path / "parts" / "train", "--folds", 2, "--out", tmp_path / "again")
    assert load_cases(tmp_path / "again" / "fold-1" / "train")


def test_one_case_under_two_patients_lies_on_one_side(tmp_path: Path) -> None:
    """The same CT and contours under two pseudonyms."""
    entries = [save_case(small(f"case{k}", hu), tmp_path) | {"patient": f"pt_{k}"} for k, hu in enumerate((7, 8, 7, 9))]
    write_manifest(tmp_path, entries, "x", [], "key")
    run(tmp_path, "--folds", 3, "--out", tmp_path / "parts")
    for fold in (1, 2, 3):
        part = tmp_path / "parts" / f"fold-{fold}"
        assert len(names(part / "validation") & {"case0", "case2"}) != 1
        assert refuse_shared([part / "train"], [part / "validation"]) == []


def test_the_same_seed_divides_alike_and_another_one_otherwise() -> None:
    patients = [f"pt_{k}" for k in range(40)]
    assert in_folds(patients, 5, 1) == in_folds(patients[::-1], 5, 1) != in_folds(patients, 5, 2)
    assert kept_aside(patients, 0.2, 1) == set(shuffled(patients, 1)[:8])
    assert [len(fold) for fold in in_folds(patients, 5, 3)] == [8] * 5


@pytest.mark.parametrize(("folds", "message"), [(1, "7 patients cannot be divided into 1 folds"),
                                                (8, "give 2 to 7 folds")])  # fmt: skip
def test_more_folds_than_patients_are_refused(ten: Path, folds: int, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        run(ten, "--folds", folds)


@pytest.mark.parametrize("share", [1.5, -0.2, 1.0])
def test_a_share_that_leaves_nobody_is_refused(ten: Path, share: float) -> None:
    with pytest.raises(CaseError, match="of 7 patients cannot be held out; give a share between 0 and 1"):
        run(ten, "--held-out", share)


def test_one_patient_cannot_be_divided() -> None:
    with pytest.raises(CaseError, match=r"of 1 patients cannot be held out; .* two patients at least"):
        kept_aside(["pt_1", "pt_1"], 0.5, 0)


def test_a_split_is_not_overwritten(ten: Path) -> None:
    run(ten, "--folds", 2)
    with pytest.raises(CaseError, match="all-split is not empty; a set that was divided stays as it is"):
        run(ten, "--folds", 3)


def test_unknown_patients_cannot_be_divided(tmp_path: Path) -> None:
    write_manifest(tmp_path, [save_case(small("one"), tmp_path)], "x", [])
    with pytest.raises(CaseError, match=r"the patient of 1 of 1 cases is unknown \(one is the first\)"):
        run(tmp_path, "--folds", 2)


def test_several_sets_are_divided_together_if_they_have_one_key(ten: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    entry = save_case(small("more", 99), more) | {"patient": "pt_0"}
    write_manifest(more, [entry], "x", [], "key")
    assert len(cases_to_split([ten, more])) == 11
    write_manifest(more, [entry], "x", [], "another")
    with pytest.raises(CaseError, match="were imported with different key files"):
        cases_to_split([ten, more])


@pytest.mark.parametrize("words", [[], ["--folds", "2", "--held-out", "0.2"]])
def test_folds_or_a_share_must_be_given(ten: Path, words: list[str]) -> None:
    done = run(ten, *words)
    assert done.exit_code == 2
    assert "give --folds N or --held-out SHARE" in done.output


def test_nobody_changes_sides_as_a_set_grows() -> None:
    patients = [f"pt_{number}" for number in range(400)]
    few, many = steadily_aside(patients[:60], 0.3, 0), steadily_aside(patients, 0.3, 0)
    assert few == many & set(patients[:60])
    assert 0.2 < len(many) / 400 < 0.4
    exact = kept_aside(patients, 0.3, 0)
    assert kept_aside(patients[:60], 0.3, 0) != exact & set(patients[:60]), "an exact share moves people"
    with pytest.raises(CaseError, match="leaves nobody on one side"):
        steadily_aside(patients[:1], 0.3, 0)
