"""A recipe planned from a set: spacings, sizes, organs and memory decide, and the reasons stand in it."""

from pathlib import Path

import numpy as np
import pytest
from rtseg_training.cli.app import app
from rtseg_training.errors import RecipeError
from rtseg_training.learn.plan import RESERVE, fitting_patch, median_spacing, planned, recipe_text, step_bytes
from rtseg_training.learn.recipe import load_recipe
from rtseg_training.sets.cases import Case
from rtseg_training.sets.organs import IMPORTANCE
from rtseg_training.sets.reach import Looked, looked_at
from typer.testing import CliRunner

GIB = 2**30
ORGANS = {organ: 400 for organ in IMPORTANCE if organ != "Bone_Mandible"}


def clinical(count: int = 500) -> list[Looked]:
    rng = np.random.default_rng(0)
    return [
        Looked((3.0, float(rng.choice([0.98, 1.0, 1.17])), 1.0), (280.0 + rng.normal(0, 10), 190.0, 85.0))
        for _ in range(count)
    ]


def test_clinical_ct_with_22_organs_gets_the_papers_network_where_memory_allows() -> None:
    plan = planned(clinical(), ORGANS, 24 * GIB)
    assert plan.width == 48
    assert plan.spacing_mm == (3.0, 1.0, 1.0)
    assert plan.in_plane == "average"
    assert len(plan.classes) == 22
    assert 300 <= plan.extent_mm[0] <= 350
    assert 2 <= plan.batch <= 6
    assert plan.steps == 250 * -(-500 // plan.batch)


@pytest.mark.parametrize("gib", [4, 6, 8, 12, 24, 80])
def test_a_step_fits_into_the_memory_named_and_more_of_it_is_used(gib: int) -> None:
    plan = planned(clinical(50), ORGANS, gib * GIB)
    need = plan.batch * step_bytes(plan.patch, plan.width, len(plan.classes))
    assert 0.3 * (gib * GIB - RESERVE) < need <= gib * GIB - RESERVE or plan.batch == 6
    assert plan.width <= planned(clinical(50), ORGANS, 2 * gib * GIB).width
    assert all(side % 8 == 0 for side in plan.patch)


def test_too_little_memory_is_said() -> None:
    with pytest.raises(RecipeError, match="2 GiB hold no step of the narrowest network; name more with --memory"):
        planned(clinical(20), ORGANS, int(2.1 * GIB))


def test_slices_far_apart_take_their_tenth_percentile() -> None:
    spacings = np.array([[5.0, 1.0, 1.0]] * 8 + [[2.0, 1.0, 1.0]] * 2)
    assert median_spacing(spacings) == (2.0, 1.0, 1.0)
    assert median_spacing(spacings * [0.5, 1, 1]) == (2.5, 1.0, 1.0)


def test_the_longest_side_in_mm_is_cut_first() -> None:
    assert fitting_patch((100, 90, 90), (3.0, 1.0, 1.0), 64 * 96 * 96) == (64, 96, 96)
    assert fitting_patch((10, 10, 10), (3.0, 1.0, 1.0), 1e9) == (16, 16, 16)


def test_organs_of_few_cases_are_left_out_with_their_numbers_and_a_side_with_its_twin() -> None:
    plan = planned(clinical(100), {"Brainstem": 90, "Parotid_L": 80, "Parotid_R": 2, "Larynx": 4}, 24 * GIB)
    assert plan.classes == ["Brainstem"]
    assert "# Too few cases have: Larynx (4), Parotid_L (80), Parotid_R (2)." in recipe_text(plan, "x")
    with pytest.raises(RecipeError, match=r"no organ is drawn in enough cases .* import\.md"):
        planned(clinical(100), {"Larynx": 1}, 24 * GIB)


@pytest.mark.parametrize("pixel", [1.0, 3.9])
def test_every_planned_recipe_loads_and_says_why(pixel: float, tmp_path: Path) -> None:
    looked = [Looked((3.0, pixel, pixel), (280.0, 190.0, 85.0))] * 30
    path = tmp_path / "ours.yaml"
    path.write_text(recipe_text(planned(looked, ORGANS | dict.fromkeys(ORGANS, 30), 12 * GIB), "ours"))
    recipe = load_recipe(path)
    assert (recipe.name, recipe.in_plane) == ("ours", "sample" if pixel > 2.5 else "average")
    text = path.read_text().splitlines()
    for key in ("family", "classes", "spacing_mm", "in_plane", "extent_mm", "patch", "batch", "steps", "members"):
        line = next(k for k, one in enumerate(text) if one.startswith(f"{key}:"))
        assert text[line - 1].startswith("# "), key


def test_the_command_looks_at_a_set_and_overwrites_nothing(data_set: Path, case: Case, tmp_path: Path) -> None:
    out = tmp_path / "recipes" / "ours.yaml"
    words = ["plan", str(data_set), "--out", str(out), "--memory", "8"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    recipe = load_recipe(out)
    assert sorted(recipe.classes) == sorted(case.structures)
    assert recipe.spacing_mm == pytest.approx(case.ct.spacing_mm, abs=1e-3)
    reach = looked_at(case).reach_mm
    assert reach is not None
    assert all(r < e for r, e in zip((reach[0], reach[1], 2 * reach[2]), recipe.extent_mm, strict=True))
    with pytest.raises(RecipeError, match=r"ours\.yaml is there already, and a recipe is not overwritten"):
        CliRunner().invoke(app, words, catch_exceptions=False)
