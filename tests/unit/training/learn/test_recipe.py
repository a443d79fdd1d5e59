"""A member's further keys change the recipe; a wrong one is named before anything is trained."""

from pathlib import Path

import pytest
from rtseg_training.errors import RecipeError
from rtseg_training.learn.recipe import Member, load_recipe

from tests.unit.training.conftest import tiny_recipe, write_recipe

RECIPES = sorted((Path(__file__).parents[4] / "training" / "recipes").glob("*.yaml"))


def member(**keys: object) -> Member:
    return Member.model_validate({"name": "x", **keys})


def test_a_group_changes_what_it_names_and_keeps_the_rest() -> None:
    recipe = tiny_recipe()
    changed = recipe.for_member(member(loss={"alpha": 0.5}, steps=7, arguments={"width": 4}))
    assert (changed.loss.alpha, changed.loss.name, changed.steps) == (0.5, recipe.loss.name, 7)
    assert changed.arguments == {"width": 4}
    assert changed.optimizer == recipe.optimizer


def test_a_list_is_replaced() -> None:
    assert tiny_recipe().for_member(member(intensity=["NLF1"])).intensity == ["NLF1"]


def test_a_wrong_key_of_a_member_is_named(tmp_path: Path) -> None:
    recipe = tiny_recipe(members=[member(los={"alpha": 1.0})])
    with pytest.raises(RecipeError, match="member x: los"):
        load_recipe(write_recipe(recipe, tmp_path / "r.yaml"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"classes": ["Brainstem", "Eye_L"]}, "classes is the same for all members"),
        ({"mirror": True, "augment": {"flip": 0}}, "members trained on flipped patches"),
        ({"patch": [40, 24, 20]}, r"patch \[40, 24, 20\]: sepnet needs multiples of \[8, 8, 8\]"),
        ({"family": "sepnot"}, "family"),
        ({"intensity": ["SLF9"]}, "intensity"),
        ({"stage": "joint"}, "FocusNet's"),
        ({"exclude": ["pt_1"]}, "exclude is the same for all members"),
    ],
)
def test_flips_and_mirrors_need_twins_and_training(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        tiny_recipe().for_member(member(**changes))


def test_an_organ_without_its_twin_cannot_be_flipped(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    path = write_recipe(recipe, tmp_path / "r.yaml")
    path.write_text(path.read_text().replace("- Parotid_R\n", ""))
    with pytest.raises(RecipeError, match="Parotid_L has no class for the other side"):
        load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_read_and_every_start_is_a_member_before(path: Path) -> None:
    recipe = load_recipe(path)
    seen: set[str] = set()
    for one in recipe.members:
        assert one.start is None or one.start in seen
        seen.add(one.name)
    assert len(seen) == len(recipe.members)
