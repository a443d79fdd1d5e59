"""The recipe of clinical resolution with 22 organs: it is the paper's, and it runs its first steps."""

from pathlib import Path

import numpy as np
import pytest
from rtseg_training.learn.cache import ready_cases
from rtseg_training.learn.recipe import load_recipe
from rtseg_training.learn.runlog import Progress
from rtseg_training.learn.trainer import Run, network_of
from rtseg_training.sets.cases import make_case, save_case
from rtseg_training.sets.joined import listed
from rtseg_training.sets.manifest import write_manifest
from rtseg_training.sets.organs import IMPORTANCE

from rtseg_daemon.anatomy.volume import Volume

RECIPE = Path(__file__).parents[4] / "training" / "recipes" / "han-22.yaml"


def test_it_is_the_papers_network_on_the_papers_grid() -> None:
    recipe = load_recipe(RECIPE)
    assert set(recipe.classes) == IMPORTANCE.keys() - {"Bone_Mandible"}
    assert (recipe.spacing_mm, recipe.patch, recipe.batch) == ((3.0, 1.0, 1.0), (16, 128, 128), 6)
    assert [(recipe.for_member(m).intensity[0], recipe.for_member(m).loss.alpha) for m in recipe.members] == [
        (slf, alpha) for alpha in (0.5, 1.0) for slf in ("SLF1", "SLF2", "SLF3")
    ]
    assert recipe.loss.name == "ath_l_exp"
    parameters = sum(p.numel() for p in network_of(recipe).parameters())
    assert parameters == pytest.approx(2.5e6, rel=0.1)


def test_it_runs_its_first_steps_on_synthetic_patients(tmp_path: Path) -> None:
    recipe, rng = load_recipe(RECIPE), np.random.default_rng(0)
    hu = np.full((24, 110, 110), -1000, np.int16)
    hu[:, 8:-8, 8:-8] = rng.normal(0, 30, (24, 94, 94)).astype(np.int16)
    masks = {}
    for k, organ in enumerate(recipe.classes):
        mask = np.zeros(hu.shape, bool)
        z, y, x = 4 + 4 * (k // 6), 20, 14 + 14 * (k % 6)
        mask[z : z + 4, y : y + 40, x : x + 10] = True
        hu[mask] += 100 + 20 * k
        masks[organ] = mask
    entry = save_case(make_case("synthetic", Volume(hu, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0)), masks), tmp_path)
    write_manifest(tmp_path, [entry], "synthetic", [])
    small = recipe.model_copy(update={"patch": (8, 32, 32), "batch": 1, "steps": 2})
    losses: list[float] = []

    def report(progress: Progress) -> None:
        losses.append(progress.loss)

    assert Run(small, small.members[0], tmp_path / "run").train(ready_cases(listed(tmp_path), small), [], report)
    assert len(losses) == 2
    assert np.isfinite(losses).all()
