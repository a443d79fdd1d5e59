"""Patches: the same for the same step, sides swapped with the image, and what was not drawn stays unknown."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rtseg_training.learn.dataset import (
    drawn_counts,
    foreground_corner,
    label_frequencies,
    random_patch,
)
from rtseg_training.learn.losses import case_weights
from rtseg_training.learn.prepared import Prepared, prepare
from rtseg_training.learn.recipe import Augment, Recipe
from rtseg_training.sets.cases import Case, make_case

from tests.unit.training.conftest import tiny_recipe

NONE = Augment(flip=0, rotate_deg=0, scale=0, elastic_mm=0, noise_hu=0, shift_hu=0, contrast=0, blur=0)


def test_a_flipped_patch_has_its_left_parotid_on_the_left_still(prepared: Prepared) -> None:
    recipe = tiny_recipe(augment=NONE.model_copy(update={"flip": 1.0}))
    labels = random_patch([prepared], recipe, 1, 0, 0).labels.numpy()
    left, right = (np.argwhere(labels == k)[:, 2].mean() for k in (3, 4))
    assert left > right


def test_flipping_swaps_which_side_was_annotated(prepared: Prepared) -> None:
    one_sided = replace(prepared, annotated=np.array([True, True, True, True, False, True]))
    recipe = tiny_recipe(augment=NONE.model_copy(update={"flip": 1.0}))
    assert random_patch([one_sided], recipe, 1, 0, 0).annotated.tolist() == [True, True, True, False, True, True]


def test_a_patch_depends_on_seed_step_and_place_alone(prepared: Prepared) -> None:
    recipe = tiny_recipe(augment=Augment(), jitter=(4, 4, 4))
    first, again = (random_patch([prepared], recipe, 5, 17, 0) for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.labels, again.labels)
    for other in ((6, 17, 0), (5, 18, 0), (5, 17, 1)):
        assert not torch.equal(first.image, random_patch([prepared], recipe, *other).image)


def test_every_case_is_seen_once_an_epoch(prepared: Prepared) -> None:
    cases = [replace(prepared, hu=prepared.hu.with_array(prepared.hu.array * 0 + 100 * k)) for k in range(5)]
    recipe = tiny_recipe(augment=NONE, intensity=["NLF2"])
    seen = sorted(random_patch(cases, recipe, 1, step, 0).image.max().item() for step in range(5, 10))
    assert seen == pytest.approx([(500 + 100 * k) / 1300 for k in range(5)], abs=1e-6)


def test_augmentation_keeps_organs_where_the_image_has_them(prepared: Prepared) -> None:
    """Mandible voxels stay bright under rotation, scaling and bending: image and labels move together."""
    recipe = tiny_recipe(augment=Augment(noise_hu=0, shift_hu=0, contrast=0, blur=0), intensity=["NLF2"])
    patches = [random_patch([prepared], recipe, 3, step, 0) for step in range(6)]
    bone = np.mean([p.image[0][p.labels == 5].mean().item() for p in patches])
    soft = np.mean([p.image[0][p.labels == 1].mean().item() for p in patches])
    assert bone > soft + 0.12


def test_foreground_sampling_centres_on_organs_and_rare_ones_as_often(prepared: Prepared) -> None:
    rng = np.random.default_rng(0)
    hits = np.zeros(6)
    for _ in range(200):
        corner = foreground_corner(prepared, (8, 8, 8), rng)
        assert corner is not None
        box = tuple(slice(max(0, c), c + 8) for c in corner)
        hits[np.unique(prepared.labels[box])] += 1
    assert hits[1:].min() > 25


def test_an_organ_that_was_not_drawn_is_unknown_and_one_drawn_empty_is_known(case: Case, recipe: Recipe) -> None:
    masks = {name: case.mask(name) for name in ("Brainstem", "Parotid_L")}
    masks["Parotid_L"] = np.zeros_like(masks["Parotid_L"])
    out = prepare(make_case("x", case.ct, masks), recipe)
    assert out.annotated.tolist() == [True, True, False, True, False, False]
    assert not (out.labels == 3).any()


def test_pixels_are_made_as_the_recipe_says(case: Case, recipe: Recipe) -> None:
    noise = np.random.default_rng(4).normal(0, 40, case.ct.shape)
    noisy = replace(case, ct=case.ct.with_array(np.where(case.ct.array > -900, noise, -1000).astype(np.int16)))
    y, x = (4 * s for s in case.ct.spacing_mm[1:])
    coarse = recipe.model_copy(update={"spacing_mm": (case.ct.spacing_mm[0], y, x)})
    sampled = prepare(noisy, coarse).hu.array
    averaged = prepare(noisy, coarse.model_copy(update={"in_plane": "average"})).hu.array
    inside = (sampled > -200) & (averaged > -200)
    assert np.median(np.abs(sampled[inside])) > 1.5 * np.median(np.abs(averaged[inside]))


def test_frequencies_count_only_cases_that_have_the_organ(prepared: Prepared) -> None:
    lacking = replace(prepared, labels=np.where(prepared.labels == 5, 0, prepared.labels),
                      annotated=np.array([True] * 5 + [False]))  # fmt: skip
    both = label_frequencies([prepared, lacking], 6)
    assert both[5].item() == float((prepared.labels == 5).sum())


def test_the_background_counts_in_the_cases_that_have_all_organs(prepared: Prepared) -> None:
    """Equation 5 of AnatomyNet's paper: its weight is one over the number of those, not of all cases."""
    lacking = replace(prepared, annotated=np.array([True] * 5 + [False]))
    counts = drawn_counts([prepared, lacking, lacking], 6)
    assert counts.tolist() == [1, 3, 3, 3, 3, 1]
    assert case_weights(counts)[0].item() == 1.0
    assert drawn_counts([lacking, lacking], 6).tolist() == [0, 2, 2, 2, 2, 0]
    assert case_weights(drawn_counts([lacking, lacking], 6))[0].item() == 0.0
