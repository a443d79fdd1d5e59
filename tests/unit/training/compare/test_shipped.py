"""Logs of runs that another recipe made than the one that ships do not come into the page of results."""

import json
from pathlib import Path

import pytest
from rtseg_training.cli.app import app
from rtseg_training.compare.ensembles import load_ensembles, runs_of_ensembles
from rtseg_training.compare.questions import load_questions, runs_of
from rtseg_training.compare.shipped import recipes_in, refuse_others, runs_below
from rtseg_training.errors import RecipeError
from rtseg_training.learn.account import PLAN, write_plan
from rtseg_training.learn.recipe import Loss, Member, Recipe, load_recipe, save_recipe
from typer.testing import CliRunner

from tests.unit.training.conftest import tiny_recipe

ROOT = Path(__file__).parents[4]


def logged(recipe: Recipe, folder: Path, member: str | None = None) -> Path:
    """A run of a recipe's member, as `train` leaves it."""
    one = recipe.member(member) if member else recipe.members[0]
    run = folder / one.name
    run.mkdir(parents=True)
    (run / "log.csv").write_text("step,seconds,loss\n10,1.0,0.5\n")
    write_plan(run, recipe.for_member(one), one)
    return run


def test_runs_of_the_recipe_that_ships_pass(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    save_recipe(recipe, tmp_path / "recipes" / "tiny.yaml")
    logged(recipe, tmp_path / "runs")
    runs = runs_below(tmp_path / "runs")
    assert [run.name for run in runs] == [recipe.members[0].name]
    refuse_others(runs, recipes_in(tmp_path / "recipes"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 90}, "made with steps: 120, recipe tiny that ships says 90; train it anew"),
        ({"loss": Loss(name="dice")}, "made with loss: .*ath_l_exp.* that ships says .*dice"),
        ({"members": [Member(name="other", seed=1)]}, "recipe tiny has no member"),
        ({"name": "larger"}, "made by recipe tiny, which is none of those that ship; --recipes names others"),
    ],
)
def test_a_run_of_another_recipe_is_refused_by_name_and_key(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    run = logged(tiny_recipe(), tmp_path)
    shipped = tiny_recipe(**changes)
    with pytest.raises(RecipeError, match=words):
        refuse_others([run], {shipped.name: shipped})


def test_a_run_that_began_with_other_weights_is_refused(tmp_path: Path) -> None:
    members = [Member(name="trunk", seed=1), Member(name="branch", start="trunk", seed=2)]
    run = logged(tiny_recipe(members=members), tmp_path, "branch")
    alone = tiny_recipe(members=[members[0], Member(name="branch", seed=2)])
    with pytest.raises(RecipeError, match="branch began with trunk, recipe tiny that ships says its seed"):
        refuse_others([run], {"tiny": alone})


def test_what_only_measures_may_be_another(tmp_path: Path) -> None:
    run = logged(tiny_recipe(), tmp_path)
    refuse_others([run], {"tiny": tiny_recipe(validate_every=7, validate_cases=3)})


def test_boxes_that_a_training_measured_are_no_difference(tmp_path: Path) -> None:
    shipped = load_recipe(ROOT / "training" / "recipes" / "han-focusnet.yaml")
    measured = shipped.model_copy(update={"arguments": {**shipped.arguments, "small": [6], "boxes": [4, 4, 4]}})
    refuse_others([logged(measured, tmp_path)], {shipped.name: shipped})


def test_a_run_without_its_plan_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    run, recipes = logged(tiny_recipe(), tmp_path), {"tiny": tiny_recipe()}
    (run / PLAN).write_text(json.dumps({"recipe": "tiny"}))
    with pytest.raises(RecipeError, match=r"plan\.json is damaged"):
        refuse_others([run], recipes)
    (run / PLAN).unlink()
    with pytest.raises(RecipeError, match=r"does not say by which recipe it was made \(plan\.json\); train it anew"):
        refuse_others([run], recipes)


def test_the_runs_of_the_bundle_that_serves_are_of_the_recipe_that_ships() -> None:
    runs = runs_below(ROOT / "training" / "runs" / "han-oar")
    assert len(runs) == 19
    refuse_others(runs, recipes_in(ROOT / "training" / "recipes"))


@pytest.mark.parametrize("recipe", recipes_in(ROOT / "training" / "recipes").values(), ids=lambda one: one.name)
def test_all_logs_that_are_kept_are_of_the_recipe_that_ships(recipe: Recipe) -> None:
    refuse_others(runs_below(ROOT / "training" / "runs" / recipe.name), {recipe.name: recipe})


def test_all_runs_that_the_page_compares_are_kept() -> None:
    training = ROOT / "training"
    compared = runs_of(load_questions(training / "comparisons.yaml"), training / "runs")
    compared += runs_of_ensembles(load_ensembles(training / "ensembles.yaml"), training / "runs")
    assert len(compared) > 50
    refuse_others(compared, recipes_in(training / "recipes"))


def test_the_page_is_not_written_from_runs_of_another_recipe(tmp_path: Path) -> None:
    report, shipped = ROOT / "training" / "runs" / "han-oar" / "report", tmp_path / "recipes"
    save_recipe(tiny_recipe(steps=90), shipped / "tiny.yaml")
    logged(tiny_recipe(), tmp_path / "runs")
    words = ["results", str(ROOT / "models" / "han-oar"), "--runs", str(tmp_path / "runs"), "--report", str(report)]
    done = CliRunner().invoke(app, [*words, "--recipes", str(shipped), "--out", str(tmp_path / "page.md")])
    assert isinstance(done.exception, RecipeError)
    assert "made with steps: 120, recipe tiny that ships says 90" in str(done.exception)
    assert not (tmp_path / "page.md").exists()
