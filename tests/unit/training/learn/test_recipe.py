"""A member's further keys change the recipe; a wrong one is named before anything is trained."""

from pathlib import Path

import pytest
import yaml
from rtseg_training.errors import RecipeError
from rtseg_training.learn.recipe import Member, load_recipe, save_recipe

from tests.unit.training.conftest import no_room, tiny_recipe, write_recipe

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


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"optimizer": {"lr": 0}}, r"optimizer\.lr: Input should be greater than 0"),
        ({"optimizer": {"lr": float("nan")}}, r"optimizer\.lr"),
        ({"optimizer": {"momentum": 1.0}}, r"optimizer\.momentum: Input should be less than 1"),
        ({"schedule": {"every": 0}}, r"schedule\.every"),
        ({"schedule": {"factor": 2}}, r"schedule\.factor: Input should be less than or equal to 1"),
        ({"augment": {"flip": 1.5}}, r"augment\.flip: Input should be less than or equal to 1"),
        ({"augment": {"rotate_deg": -1}}, r"augment\.rotate_deg"),
        ({"spacing_mm": [0, 2, 2]}, r"spacing_mm\.0: Input should be greater than 0"),
        ({"spacing_mm": [float("inf"), 2, 2]}, r"spacing_mm\.0"),
        ({"patch": [0, 24, 24]}, r"patch\.0"),
        ({"patch": [4096, 24, 24]}, r"patch\.0: Input should be less than or equal to 1024"),
        ({"jitter": [-1, 0, 0]}, r"jitter\.0"),
        ({"classes": []}, r"classes: List should have at least 1 item"),
        ({"classes": ["A_name_that_no_TPS_takes"]}, r"classes\.0: String should have at most 16 characters"),
        ({"classes": ["Larynx", "larynx"], "augment": {"flip": 0}}, r"class Larynx is there twice"),
        ({"arguments": {"width": 0}}, r"arguments\.width is 0; write a whole number from 1 to 1024"),
        ({"members": []}, r"members: List should have at least 1 item"),
        ({"members": [{"name": "a", "seed": -1}]}, r"members\.0\.seed: Input should be greater than or equal to 0"),
        ({"members": [{"name": "a"}, {"name": "A"}]}, r"member a is there twice; give each a name of its own"),
        ({"members": [{"name": "../../evil"}]}, r"members\.0\.name: .*'\.\./\.\./evil' is no name; write letters"),
        ({"members": [{"name": "a/b"}]}, r"'a/b' is no name"),
        ({"members": [{"name": ".."}]}, r"'\.\.' is no name"),
        ({"members": [{"name": "a", "start": "/etc/passwd"}]}, r"members\.0\.start: .* is no name"),
        ({"members": [{"name": "a", "start": "b"}]}, r"member a: start names b, which is no member"),
        ({"members": [{"name": "a", "start": "a"}]}, r"a starts from a; one of them must begin with its own seed"),
        (
            {"members": [{"name": "a", "start": "b"}, {"name": "b", "start": "c"}, {"name": "c", "start": "b"}]},
            r"b starts from c starts from b; one of them must begin with its own seed",
        ),
    ],
)
def test_numbers_have_bounds_names_are_names_and_starts_end(
    tmp_path: Path, changes: dict[str, object], fault: str
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe().model_dump(mode="json") | changes))
    with pytest.raises(RecipeError, match=fault):
        load_recipe(path)


def test_what_is_no_text_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read as YAML"):
        load_recipe(path)


def test_a_recipe_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = save_recipe(tiny_recipe(), tmp_path / "recipe.yaml")
    before = path.read_bytes()
    with no_room(100), pytest.raises(OSError, match="File too large"):
        save_recipe(tiny_recipe(steps=7), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]
