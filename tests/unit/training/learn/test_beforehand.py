"""Nothing is overwritten before all that can be refused was looked at."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rtseg_training.cli.app import app
from rtseg_training.errors import CheckpointError, RecipeError
from rtseg_training.learn.beforehand import check_cases
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.recipe import Recipe
from typer.testing import CliRunner

from tests.unit.training.conftest import ORGANS, tiny_recipe, write_recipe


def train(recipe: Recipe, place: Path, data: Path, *words: str) -> None:
    path = write_recipe(recipe, place / "given.yaml")
    arguments = ["train", path, "--data", data, "--out", place / "runs", "--threads", 1, *words]
    done = CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def small(**changes: object) -> Recipe:
    return tiny_recipe(**{"steps": 2, "arguments": {"width": 2}, "patch": (16, 16, 16)} | changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, data_set: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(small(), folder, data_set, "--member", "a")
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"steps": 3}, CheckpointError, r"was trained with steps: 2, the recipe says 3; give the member another name"),
        ({"name": "other"}, CheckpointError, r"belongs to tiny/a, not to other/a"),
        (
            {"classes": [*ORGANS, "Eye_L", "Eye_R"]},
            RecipeError,
            r"no case has Eye_L, Eye_R; it was written for another data set: leave these classes out, or import cases",
        ),
        ({"arguments": {"width": 2, "depth": 9}}, RecipeError, "arguments do not fit sepnet"),
        ({"exclude": ["phantom1"]}, RecipeError, "there is no case to learn from; look at --data and `exclude:`"),
    ],
)
def test_a_refused_train_leaves_recipe_and_runs_as_they_were(
    place: Path, data_set: Path, changes: dict[str, object], error: type[Exception], words: str
) -> None:
    before = everything(place / "runs")
    with pytest.raises(error, match=words):
        train(small(**changes), place, data_set, "--member", "b" if "arguments" in changes else "a")
    assert everything(place / "runs") == before


def test_a_member_whose_start_is_not_trained_is_refused_at_once(data_set: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"member b: it starts from a, which is not trained yet in .*runs"):
        train(small(), tmp_path, data_set, "--member", "b")
    assert not (tmp_path / "runs").exists()


def test_the_classes_that_a_case_has_are_found_over_several_cases(prepared: Prepared) -> None:
    def knowing(*classes: int) -> Prepared:
        return replace(prepared, annotated=np.isin(np.arange(len(ORGANS) + 1), classes))

    check_cases(tiny_recipe(), [knowing(1, 2, 3), knowing(4, 5)])
    with pytest.raises(RecipeError, match=r"no case has Parotid_R; it was written for another data set"):
        check_cases(tiny_recipe(), [knowing(1, 2, 3), knowing(3, 5)])
