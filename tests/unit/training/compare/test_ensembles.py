"""Ensembles compared: the figures against values worked out by hand, the files against runs that were trained."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rtseg_training.cli.app import app
from rtseg_training.compare.ensembles import (
    COLUMNS,
    CSV,
    FACTS,
    EnsembleQuestion,
    ensemble_lines,
    facts_of,
    load_ensembles,
    organ_row,
    read_ensemble,
    runs_of_ensembles,
    score_ensemble,
    worst,
)
from rtseg_training.compare.score import score_case, trained
from rtseg_training.errors import CheckpointError, RecipeError
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.recipe import Member, Recipe, load_recipe
from rtseg_training.learn.trainer import Run
from typer.testing import CliRunner

from tests.unit.training.conftest import tiny_recipe

TRAINING = Path(__file__).parents[4] / "training"


def line(*filled: int) -> np.ndarray:
    mask = np.zeros((1, 1, 8), bool)
    mask[0, 0, list(filled)] = True
    return mask


def question(*labels: str) -> EnsembleQuestion:
    rows = [{"label": label, "scored": f"r/{label}"} for label in labels]
    return EnsembleQuestion.model_validate({"title": "T", "paper": "says so", "rows": rows})


def scored(folder: Path, rows: list[tuple[str, str, float, float, float]], steps: int = 600) -> None:
    folder.mkdir(parents=True)
    with (folder / CSV).open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *((*row, 0.1) for row in rows)])
    facts = {"members": ["a"], "runs": ["a", "trunk"], "steps": steps, "training_seconds": 1800.0}
    (folder / FACTS).write_text(json.dumps(facts))


def test_an_organs_figures() -> None:
    row = organ_row(line(0, 1, 2, 3), [line(0, 1), line(1, 2, 3, 4)], line(0, 1, 2))
    assert row["dice"] == pytest.approx(6 / 7)
    assert row["alone"] == pytest.approx((4 / 6 + 6 / 8) / 2)
    assert row["pairwise_dice"] == pytest.approx(2 / 6)
    assert row["vvc"] == pytest.approx(1 / 3)


def test_only_the_largest_part_counts_for_dice_and_all_voxels_for_disagreement() -> None:
    row = organ_row(line(0, 1, 2), [line(0, 1, 2, 6), line(0, 1, 2)], line(0, 1, 2, 6))
    assert (row["dice"], row["alone"]) == (1.0, 1.0)
    assert row["pairwise_dice"] == pytest.approx(6 / 7)


def test_members_that_find_nothing_agree() -> None:
    row = organ_row(line(0), [line(), line()], line())
    assert (row["dice"], row["alone"], row["pairwise_dice"], row["vvc"]) == (0.0, 0.0, 1.0, 0.0)


def test_the_worst_are_those_of_each_organ() -> None:
    rows = [{"organ": "Larynx", "dice": str(k / 10)} for k in range(10)] + [
        {"organ": "Brainstem", "dice": str(0.9 + k / 100)} for k in range(10)
    ]
    assert np.flatnonzero(worst(rows)).tolist() == [0, 10]


def test_what_members_began_with_counts_once(tmp_path: Path) -> None:
    members = [{"name": "trunk", "seed": 1}, {"name": "a", "seed": 2, "start": "trunk"}]
    members += [{"name": "b", "seed": 3, "start": "a"}, {"name": "c", "seed": 4}]
    recipe = tiny_recipe(members=[Member.model_validate(one) for one in members])
    assert facts_of(recipe, [recipe.member("b"), recipe.member("a")], tmp_path)["runs"] == ["b", "a", "trunk"]
    assert facts_of(recipe, [recipe.member("c")], tmp_path)["runs"] == ["c"]


def test_a_page_shows_gain_agreement_and_what_disagreement_finds(tmp_path: Path) -> None:
    cases = [(f"p{k}", "Larynx", 0.4 if k == 0 else 0.8, 0.7, 0.5 if k == 0 else 0.9) for k in range(20)]
    scored(tmp_path / "r" / "chain", cases)
    scored(tmp_path / "r" / "free", [(p, o, d + 0.1, a, 0.9) for p, o, d, a, _ in cases], steps=300)
    chain, free = ensemble_lines(question("chain", "free"), tmp_path)[-2:]
    assert chain.startswith("| chain | 0.700 | 0.780 | - | +0.080 | 0.880 | 1.000 (1.000 to 1.000) |")
    assert chain.endswith("| 600 | 0.50 |")
    assert free.startswith("| free | 0.700 | 0.880 | +0.100 (+0.100 to +0.100) | +0.180 | 0.900 |")
    assert [run.name for run in runs_of_ensembles([question("chain")], tmp_path)] == ["a", "trunk"]


def test_what_was_not_scored_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"ensemble.csv is missing; score the members with: .* --ensemble chain"):
        ensemble_lines(question("chain"), tmp_path)
    with pytest.raises(RecipeError, match=r"ensemble.json cannot be read .* score the ensemble again"):
        runs_of_ensembles([question("chain")], tmp_path)
    (tmp_path / "q.yaml").write_text("- {title: T, paper: P, row: []}\n")
    with pytest.raises(RecipeError, match="rows"):
        load_ensembles(tmp_path / "q.yaml")


def test_members_are_measured_together(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    short = recipe.model_copy(update={"steps": 1})
    for member in short.members:
        Run(short, member, tmp_path / member.name).train([prepared], [], lambda _p: None)
    score_ensemble(short, short.members, tmp_path, tmp_path / "all", [prepared], lambda _name: None)
    rows = read_ensemble(tmp_path / "all")
    assert [row["organ"] for row in rows] == recipe.classes
    nets = [(short.for_member(m), tmp_path / m.name / "checkpoint.safetensors") for m in short.members]
    alone = [score_case(trained(mine, path), prepared, mine) for mine, path in nets]
    for row in rows:
        assert float(row["alone"]) == pytest.approx(np.mean([one[row["organ"]] for one in alone]), abs=1e-4)
    facts = json.loads((tmp_path / "all" / FACTS).read_text())
    assert (facts["members"], facts["steps"]) == ([m.name for m in short.members], len(short.members))


def test_one_member_together_is_that_member(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    short = recipe.model_copy(update={"steps": 1})
    member = short.members[0]
    Run(short, member, tmp_path / member.name).train([prepared], [], lambda _p: None)
    score_ensemble(short, [member], tmp_path, tmp_path / "one", [prepared], lambda _name: None)
    assert all(row["dice"] == row["alone"] for row in read_ensemble(tmp_path / "one"))


def test_a_member_that_is_not_finished_is_refused(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    first = recipe.members[0]
    Run(recipe, first, tmp_path / first.name).save()
    with pytest.raises(CheckpointError, match="train it to its end first"):
        score_ensemble(recipe, [first], tmp_path, tmp_path / "all", [prepared], lambda _name: None)
    assert not (tmp_path / "all").exists()


def test_the_shipped_ensembles_cost_the_same_and_have_the_papers_six_members() -> None:
    recipe = load_recipe(TRAINING / "recipes" / "comparison-organs.yaml")
    for kind in ("chain", "scratch"):
        members = [one for one in recipe.members if one.name.startswith(f"{kind}-")]
        seen = {(tuple(mine.intensity), mine.loss.alpha) for mine in map(recipe.for_member, members)}
        assert seen == {((f"SLF{k}",), alpha) for k in (1, 2, 3) for alpha in (0.5, 1.0)}
        runs = facts_of(recipe, members, Path("none"))["runs"]
        assert sum(recipe.for_member(recipe.member(name)).steps for name in runs) == 9000
    for asked in load_ensembles(TRAINING / "ensembles.yaml"):
        assert {Path(row.scored).parent.name for row in asked.rows} == {recipe.name}


@pytest.mark.parametrize(("name", "words"), [("../all", "is no name"), ("base-1", "is a member's name")])
def test_an_ensembles_folder_is_named_so_that_it_overwrites_nothing(name: str, words: str) -> None:
    recipe = TRAINING / "recipes" / "comparison-organs.yaml"
    call = ["score", str(recipe), "--runs", "runs", "--data", "none", "--ensemble", name]
    done = CliRunner().invoke(app, call, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert words in done.output
