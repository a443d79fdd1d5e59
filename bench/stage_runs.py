"""What benches of FocusNet's stages share: the command line, a run opened with its cases, and a line of the log."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rtseg_training.learn.cache import ready_cases
from rtseg_training.learn.checkpoint import load_into, read_meta, read_weights
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Recipe, load_recipe
from rtseg_training.learn.trainer import network_of
from rtseg_training.sets.joined import listed

from rtseg_daemon.networks.focusnet import FocusNet

Row = dict[str, Any]


@dataclass(frozen=True)
class StageRun:
    """A run of FocusNet with its averaged weights, and the cases of a set as its recipe has them."""

    recipe: Recipe
    net: FocusNet
    cases: list[TrainingCase]


def opened(checkpoint: Path, recipe: Recipe, data: Path) -> StageRun:
    """The run whose `checkpoint` it is. `recipe` is the member's own."""
    net = network_of(recipe).eval()
    assert isinstance(net, FocusNet), f"{recipe.name} is no FocusNet"
    load_into(checkpoint, net, read_weights(checkpoint))
    return StageRun(recipe, net, list(ready_cases(listed(data), recipe, makers=1)))


def told(description: str | None, member: str, measure: Callable[[StageRun], dict[str, Row]], said: str) -> None:
    """Measure what the command line names, print a line for each organ, and append one to the log.

    Args:
        member: the one that is measured where `--member` does not say.
        measure: gives each organ's figures.
        said: an organ's line, with its figures by name.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--member", default=member)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--note", default="")
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    plan = load_recipe(asked.runs / "recipe.yaml")
    checkpoint = asked.runs / asked.member / "checkpoint.safetensors"
    organs = measure(opened(checkpoint, plan.for_member(plan.member(asked.member)), asked.data))
    for name, row in organs.items():
        print(f"{name}: {said.format(**row)}")
    line = {"when": f"{datetime.now(UTC):%Y-%m-%d}", "member": f"{plan.name}/{asked.member}"}
    line |= {"steps": read_meta(checkpoint)["step"], "organs": organs, "note": asked.note}
    if asked.log:
        with asked.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
