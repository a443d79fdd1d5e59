"""A recipe asks for bf16; whether products run in it is the hardware's to say."""

from pathlib import Path

import pytest
import torch
from rtseg_training.learn import precision
from rtseg_training.learn.dataset import batch_of
from rtseg_training.learn.precision import in_bf16, layout_of
from rtseg_training.learn.prepared import Prepared
from rtseg_training.learn.recipe import Recipe
from rtseg_training.learn.trainer import Run, Supervised

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "hardware", "used"), [("bf16", True, True), ("bf16", False, False), ("fp32", True, False)]
)
def test_products_run_in_bf16_where_recipe_and_hardware_have_it(
    asked: str, hardware: bool, used: bool, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: hardware)
    assert in_bf16(recipe.model_copy(update={"precision": asked}), CPU) is used


@pytest.mark.parametrize("hardware", [True, False])
def test_a_run_trains_as_the_hardware_allows(
    hardware: bool, recipe: Recipe, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: hardware)
    run = Run(recipe.model_copy(update={"precision": "bf16"}), recipe.members[0], tmp_path)
    trainee = run._trainee([prepared])
    assert isinstance(trainee, Supervised)
    assert trainee.bf16 is hardware


def taught(layout: torch.memory_format, recipe: Recipe, prepared: Prepared, folder: Path) -> Run:
    """The run with the gradients of its first step, in that layout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rtseg_training.learn.trainer.layout_of", lambda device: layout)
        run = Run(recipe, recipe.members[0], folder)
    first = batch_of([prepared], recipe, recipe.members[0].seed, 0)
    run._trainee([prepared])(first.image, first.labels, first.annotated).backward()
    return run


def test_the_layout_changes_nothing_but_the_time(recipe: Recipe, prepared: Prepared, tmp_path: Path) -> None:
    one = taught(torch.preserve_format, recipe, prepared, tmp_path / "one")
    other = taught(torch.channels_last_3d, recipe, prepared, tmp_path / "other")
    wide = other.net.get_parameter("encoder.1.body.0.0.weight")
    assert wide.is_contiguous(memory_format=torch.channels_last_3d)
    assert not wide.is_contiguous()
    for (name, parameter), same in zip(one.net.named_parameters(), other.net.parameters(), strict=True):
        assert parameter.grad is not None
        assert same.grad is not None
        largest = float(parameter.grad.abs().max())  # rounding adds up over 44 norms
        assert torch.allclose(same.grad, parameter.grad, rtol=0, atol=0.01 * largest), name


def test_processors_alone_lay_out_by_voxels() -> None:
    assert layout_of(CPU) is torch.channels_last_3d
    assert layout_of(torch.device("cuda:0")) is torch.preserve_format
