"""Comparisons from scored runs, against values worked out by hand."""

import csv
import json
from pathlib import Path

import pytest
from rtseg_training.compare.questions import (
    Measured,
    Question,
    difference,
    load_questions,
    mean_dice,
    question_lines,
    runs_of,
    verdict,
)
from rtseg_training.compare.score import CSV, FACTS, score_run
from rtseg_training.errors import CheckpointError, RecipeError
from rtseg_training.learn.focus import with_boxes
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.recipe import Recipe, load_recipe
from rtseg_training.learn.trainer import Run

from tests.unit.training.conftest import tiny_recipe

QUESTIONS = Path(__file__).parents[4] / "training" / "comparisons.yaml"
A = {("p", "Larynx"): 0.5, ("q", "Larynx"): 0.7, ("p", "Brainstem"): 0.9}
B = {("p", "Larynx"): 0.6, ("q", "Larynx"): 0.9, ("p", "Brainstem"): 0.6}


def shifted(by: float) -> dict[tuple[str, str], float]:
    return {key: value + by for key, value in A.items()}


def logged(folder: Path, scores: dict[tuple[str, str], float], seconds: float = 100.0) -> None:
    folder.mkdir(parents=True)
    with (folder / CSV).open("w", newline="") as file:
        csv.writer(file).writerows([("case", "organ", "dice"), *((*k, f"{v:.4f}") for k, v in scores.items())])
    facts = {"parameters": 12345, "steps": 400, "training_seconds": seconds, "seconds_per_case": 0.5}
    (folder / FACTS).write_text(json.dumps(facts))


def test_mean_over_organs_of_the_mean_over_cases() -> None:
    assert mean_dice(A) == pytest.approx((0.6 + 0.9) / 2)


def test_a_difference_is_a_mean_over_organs_of_means_over_patients() -> None:
    assert difference(A, B)[0] == pytest.approx(((0.1 + 0.2) / 2 - 0.3) / 2)


def test_a_difference_is_of_what_both_measured() -> None:
    assert difference(A, {**B, ("r", "Larynx"): 0.1})[0] == pytest.approx(difference(A, B)[0])


def test_equal_differences_have_no_spread() -> None:
    assert difference(A, shifted(0.25))[1] == pytest.approx((0.25, 0.25))


def test_patients_are_drawn_with_all_their_organs() -> None:
    a = {(case, organ): 0.5 for case in "pq" for organ in ("Larynx", "Brainstem")}
    b = {key: value + (0.1 if key[0] == "p" else -0.1) for key, value in a.items()}
    assert difference(a, b)[1] == pytest.approx((-0.1, 0.1))  # one draw in four is p twice, another q twice


@pytest.mark.parametrize(
    ("other", "seeds", "words"),
    [
        (0.1, 3, "better"),
        (-0.1, 3, "worse"),
        (0.005, 3, "too close to tell"),
        (0.1, 1, "no conclusion (too few seeds)"),
    ],
)
def test_a_verdict_needs_three_seeds_that_do_not_overlap(other: float, seeds: int, words: str) -> None:
    base = Measured("base", [shifted(0.01 * k) for k in range(3)], [])
    row = Measured("row", [shifted(other + 0.01 * k) for k in range(seeds)], [])
    assert verdict(base, row, difference(base.seeds[0], row.seeds[0])[1]) == words


def test_a_page_shows_means_spread_interval_parameters_and_seconds(tmp_path: Path) -> None:
    for k in range(3):
        logged(tmp_path / "r" / f"a-{k}", shifted(0.01 * k))
        logged(tmp_path / "r" / f"b-{k}", shifted(0.1 + 0.01 * k))
    rows = [{"label": x, "runs": [f"r/{x}-{k}" for k in range(3)]} for x in "ab"]
    question = Question.model_validate({"title": "T", "paper": "says so", "rows": rows})
    text = "\n".join(question_lines(question, tmp_path))
    assert (
        "| b | 3 | 0.860 (0.850 to 0.870) | +0.100 (+0.100 to +0.100) | better | 12,345 | 400 | 0.25 | 0.50 |" in text
    )


def test_a_run_that_was_not_scored_is_named_with_the_command(tmp_path: Path) -> None:
    question = Question.model_validate({"title": "T", "paper": "", "rows": [{"label": "a", "runs": ["r/a"]}]})
    (tmp_path / "r" / "a").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"r/a/validation.csv is missing; score the run with"):
        question_lines(question, tmp_path)


def test_runs_that_were_not_made_yet_are_counted_and_what_is_there_is_shown(tmp_path: Path) -> None:
    logged(tmp_path / "r" / "a", A)
    logged(tmp_path / "r" / "b", B)
    rows = [{"label": "A", "runs": ["r/a", "r/a-2"]}, {"label": "B", "runs": ["r/b"]}, {"label": "C", "runs": ["r/c"]}]
    text = {"title": "T", "paper": "", "rows": rows, "remark": "So it is."}
    shown = "\n".join(question_lines(Question.model_validate(text), tmp_path))
    assert "| A | 1 |" in shown
    assert "| B | 1 |" in shown
    assert "| C |" not in shown
    assert shown.endswith("Runs to be trained yet: 1 of A, 1 of C.\n\nSo it is.")
    nothing = "\n".join(question_lines(Question.model_validate(text | {"rows": rows[::-1]}), tmp_path))
    assert "| A |" not in nothing  # without what the others are compared with there is no comparison
    assert nothing.endswith("Runs to be trained yet: 1 of C, 1 of A.")


def test_a_wrong_key_in_the_questions_is_named(tmp_path: Path) -> None:
    (tmp_path / "q.yaml").write_text("- {title: T, paper: P, row: []}\n")
    with pytest.raises(RecipeError, match="rows"):
        load_questions(tmp_path / "q.yaml")


def test_a_run_is_scored_case_by_case(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    short = recipe.model_copy(update={"steps": 1})
    run = Run(short, short.members[0], tmp_path / "a")
    run.train([prepared], [], lambda _p: None)
    score_run(short, short.members[0], tmp_path, [prepared], lambda _name: None)
    with (tmp_path / "a" / CSV).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["organ"] for row in rows] == recipe.classes
    facts = json.loads((tmp_path / "a" / FACTS).read_text())
    assert facts["parameters"] == sum(p.numel() for p in run.net.parameters())
    assert (facts["runs"], facts["steps"]) == (["a"], 1)


def test_a_run_has_the_steps_and_seconds_of_what_it_began_with(
    recipe: Recipe, prepared: Prepared, tmp_path: Path
) -> None:
    short = recipe.model_copy(update={"steps": 2})
    first, then = short.members
    trunk, end = tmp_path / first.name, tmp_path / then.name
    Run(short, first, trunk).train([prepared], [], lambda _p: None)
    Run(short, then, end, trunk / "checkpoint.safetensors").train([prepared], [], lambda _p: None)
    for member in (first, then):
        score_run(short, member, tmp_path, [prepared], lambda _name: None)
    alone, whole = (json.loads((folder / FACTS).read_text()) for folder in (trunk, end))
    assert (whole["runs"], alone["steps"], whole["steps"]) == ([then.name, first.name], 2, 4)
    assert whole["training_seconds"] > alone["training_seconds"]


def test_the_runs_of_a_comparison_are_those_too_that_they_began_with(tmp_path: Path) -> None:
    logged(tmp_path / "r" / "then", A)
    (tmp_path / "r" / "then" / FACTS).write_text(json.dumps({"runs": ["then", "first"]}))
    rows = [{"label": "A", "runs": ["r/then"]}, {"label": "B", "runs": ["r/not-made"]}]
    asked = Question.model_validate({"title": "T", "paper": "", "rows": rows})
    assert runs_of([asked], tmp_path) == [tmp_path / "r" / "then", tmp_path / "r" / "first"]
    (tmp_path / "r" / "then" / FACTS).write_text("{")
    with pytest.raises(RecipeError, match=r"run\.json cannot be read .*score the run again"):
        runs_of([asked], tmp_path)


def test_only_a_finished_run_of_this_recipe_is_scored(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    first, second = recipe.members
    Run(recipe, first, tmp_path / "a").save()
    for plan, words in (
        (recipe, "stands at step 0 of 120; train it to its end first"),
        (recipe.model_copy(update={"ema": 0.5}), r"was trained with ema: 0\.9, the recipe says 0\.5"),
    ):
        with pytest.raises(CheckpointError, match=words):
            score_run(plan, first, tmp_path, [prepared], lambda _name: None)
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(CheckpointError, match="belongs to tiny/a, not to tiny/b"):
        score_run(recipe, second, tmp_path, [prepared], lambda _name: None)
    assert not (tmp_path / "b" / CSV).exists()


def test_focusnet_is_scored_by_the_recipe_with_its_boxes(prepared: Prepared, tmp_path: Path) -> None:
    bare = tiny_recipe(family="focusnet", arguments={"widths": [4, 6, 8]}, small_organs=["Brainstem"])
    Run(with_boxes(bare, [prepared]), bare.members[0], tmp_path / bare.members[0].name).save()
    with pytest.raises(RecipeError, match=r"use the recipe\.yaml beside the runs"):
        score_run(bare, bare.members[0], tmp_path, [prepared], lambda _name: None)


def test_every_run_that_the_shipped_questions_name_is_a_member_of_a_shipped_recipe() -> None:
    recipes = QUESTIONS.parent / "recipes"
    for question in load_questions(QUESTIONS):
        for run in (run for row in question.rows for run in row.runs):
            recipe, member = run.split("/")
            assert load_recipe(recipes / f"{recipe}.yaml").member(member).name == member
