"""A recipe asks for bf16; whether products run in it is the hardware's to say."""

from pathlib import Path

import pytest
import torch
from rtseg_training.learn import precision
from rtseg_training.learn.precision import in_bf16
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
