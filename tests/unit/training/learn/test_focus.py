"""FocusNet's stages: what each teaches and leaves alone, its targets by hand, and resumption in any stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rtseg_training.errors import RecipeError
from rtseg_training.learn.checkpoint import part, read_checkpoint
from rtseg_training.learn.dataset import Patch
from rtseg_training.learn.focus import (
    box_loss,
    box_of,
    centres_of,
    cropped,
    heat_loss,
    heat_maps,
    mean_diameter,
    with_boxes,
)
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.recipe import Member, Recipe
from rtseg_training.learn.trainer import Run

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.networks.focusnet import FocusNet, Parts
from tests.unit.training.conftest import same, tiny_recipe

STAGES = ["semantic", "localise", "small", "joint"]
NETWORKS = {"semantic": {"snet"}, "localise": {"sol"}, "small": {"sos"}, "joint": {"snet", "sol", "sos"}}


def quiet(_progress: object) -> None:
    """For a run that nobody watches."""


@pytest.fixture(scope="module")
def staged(prepared: Prepared) -> Recipe:
    chain = [
        Member.model_validate({"name": s, "stage": s, "start": STAGES[k - 1] if k else None, "seed": k})
        for k, s in enumerate(STAGES)
    ]
    recipe = tiny_recipe(
        family="focusnet", arguments={"widths": [4, 6, 8]}, small_organs=["Brainstem"], steps=2, members=chain
    )
    return with_boxes(recipe, [prepared])


def test_boxes_are_three_mean_diameters_even_and_within_the_patch() -> None:
    assert box_of(np.array([3.0, 4.0, 9.5]), (40, 24, 24), 3.0) == [8, 12, 24]


def test_a_mean_diameter_is_the_mean_extent_over_the_cases_that_show_the_organ(prepared: Prepared) -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    hu = Volume(np.zeros((8, 8, 8), np.int16), (5.0, 8.0, 8.0), (0.0, 0.0, 0.0))
    labels[1:4, 2:6, 3:4] = 1
    small = Prepared("a", hu, labels, prepared.annotated)
    labels2 = np.zeros((8, 8, 8), np.uint8)
    labels2[0:5, 2:4, 0:3] = 1
    other = Prepared("b", hu, labels2, prepared.annotated)
    none = Prepared("c", hu, np.zeros((8, 8, 8), np.uint8), prepared.annotated)
    assert mean_diameter([small, other, none], 1).tolist() == [4.0, 3.0, 2.0]
    with pytest.raises(RecipeError, match="no case shows class 1"):
        mean_diameter([none], 1)


def test_boxes_come_from_the_training_set_once(staged: Recipe, prepared: Prepared) -> None:
    assert staged.arguments["small"] == [1]
    assert len(staged.arguments["boxes"]) == 3  # type: ignore[arg-type]
    assert with_boxes(staged, [prepared]) is staged


def test_centres_are_those_of_gravity_and_absent_ones_negative() -> None:
    labels = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    labels[0, 1:3, 2, 4] = 2
    assert centres_of(labels, [2, 5]).tolist() == [[[1.5, 2.0, 4.0], [-1.0, -1.0, -1.0]]]


def test_heat_is_a_gaussian_of_height_one_and_nothing_where_there_is_no_organ() -> None:
    heat = heat_maps(torch.tensor([[[2.0, 3.0, 1.0], [-1.0, -1.0, -1.0]]]), (6, 6, 6), sigma=2.0)
    assert float(heat[0, 0, 2, 3, 1]) == 1.0
    assert float(heat[0, 0, 4, 3, 1]) == pytest.approx(np.exp(-0.5))
    assert float(heat[0, 1].max()) == 0.0


def test_an_organ_that_is_not_drawn_teaches_no_heat() -> None:
    centres = torch.tensor([[[-1.0, -1.0, -1.0]]])
    wrong = torch.ones(1, 1, 4, 4, 4)
    drawn, missing = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert float(heat_loss(wrong, centres, drawn, [1])) == pytest.approx(1.0)
    assert float(heat_loss(wrong, centres, missing, [1])) == 0.0


def test_boxes_are_cut_where_they_start() -> None:
    labels = torch.arange(64).view(1, 4, 4, 4)
    assert cropped(labels, torch.tensor([[1, 2, 0]]), (2, 1, 2))[0].flatten().tolist() == [24, 25, 40, 41]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_changes_its_own_networks_only(stage: str, staged: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    run = Run(staged, staged.member(stage), tmp_path)
    before = {k: v.clone() for k, v in run.net.state_dict().items()}
    assert run.train([prepared], [], quiet)
    changed = {k.split(".")[0] for k, v in run.net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == NETWORKS[stage]


@pytest.mark.parametrize(("stage", "true"), [("small", True), ("joint", False)])
def test_the_joint_stage_looks_where_the_organs_were_localised_as_in_use(
    stage: str, true: bool, staged: Recipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[torch.Tensor | None] = []
    parts = FocusNet.parts

    def watched(self: FocusNet, x: torch.Tensor, centres: torch.Tensor | None = None) -> Parts:
        given.append(centres)
        return parts(self, x, centres)

    monkeypatch.setattr(FocusNet, "parts", watched)
    member = staged.member(stage)
    Run(staged, member.model_copy(update={"start": None}), tmp_path).train([prepared], [], quiet)
    assert [centres is not None for centres in given] == [true, true]


def test_a_box_that_misses_its_organ_teaches_to_find_nothing_there() -> None:
    labels = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    labels[0, 4:, 4:, 4:] = 1
    patch = Patch(torch.zeros(1, 1, 6, 6, 6), labels, torch.tensor([[True, True]]))
    logits = torch.full((1, 1, 2, 2, 2), 1.0, requires_grad=True)
    starts = torch.tensor([[0, 0, 0]])
    parts = Parts(torch.zeros(1), torch.zeros(1), [logits], [starts])
    loss = box_loss(parts, patch, [1])
    loss.backward()
    surprise = np.log1p(np.e)
    assert loss.item() == pytest.approx((1 - np.exp(-surprise)) ** 2 * surprise, rel=1e-5)
    assert logits.grad is not None
    assert (logits.grad > 0).all()
    unknown = Patch(patch.image, labels, torch.tensor([[True, False]]))
    assert box_loss(parts, unknown, [1]).item() == 0.0


@pytest.mark.parametrize("stage", ["localise", "joint"])
def test_a_stage_that_was_cut_off_ends_as_if_it_had_not_been(
    stage: str, staged: Recipe, prepared: Prepared, tmp_path: Path
) -> None:
    whole = Run(staged, staged.member(stage), tmp_path / "whole")
    whole.train([prepared], [], quiet)
    Run(staged, staged.member(stage), tmp_path / "cut").train([prepared], [], quiet, stop_after_s=0.0)
    again = Run(staged, staged.member(stage), tmp_path / "cut")
    again.train([prepared], [], quiet)
    states = [part(read_checkpoint(run.path)[0], "net") for run in (whole, again)]
    assert same(*states)
