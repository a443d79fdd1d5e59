"""What three readings of the papers' losses change, at the budget of the comparisons in docs/results.md.

    python bench/losses.py --train SET --validation SET --work DIR [--seeds 2] [--steps 300] [--question NAME]
        [--log FILE]

Each question trains the recipe's own member twice from the same seed: once as the code reads the paper, once as it read
it before. AnatomyNet's background was weighed by all cases (equations 4 to 6 of seed 003 weigh it by those with all
organs). FocusNet's Dice left the background out (equation 2 of seed 004 has it). Its last stage trained the small
organs' network on boxes around the true centres (in use they stand where SOL-Net finds them). Both runs are measured by
`rtseg-train score`, and each finished run stays, so that the command goes on where it was stopped. Questions can be
asked side by side, each by a process of its own.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rtseg_training.cli import app
from rtseg_training.learn import focus, losses, trainer
from torch import Tensor

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
AS_BEFORE = "--as-before"


@dataclass(frozen=True)
class Question:
    """One reading of a loss: the recipe, and its members up to the one that is measured.

    Args:
        shared: so many members are trained once, and both runs go on from there.
    """

    name: str
    recipe: str
    members: tuple[dict[str, Any], ...]
    shared: int = 0


QUESTIONS = (
    Question("background", "comparison-anatomynet.yaml", ({"name": "hybrid"},)),
    Question("dice", "comparison-focusnet.yaml", ({"name": "snet", "stage": "semantic"},)),
    Question(
        "centres",
        "comparison-focusnet.yaml",
        (
            {"name": "semantic", "stage": "semantic", "steps": 0.6},
            {"name": "localise", "start": "semantic", "stage": "localise", "steps": 0.4 / 3},
            {"name": "small", "start": "localise", "stage": "small", "steps": 0.4 / 3},
            {"name": "joint", "start": "small", "stage": "joint", "steps": 0.4 / 3, "optimizer": {"lr": 1.0e-3}},
        ),
        shared=3,
    ),
)


def background_before(cases: Sequence[Any], classes: int) -> Tensor:
    """In how many cases each class is annotated, the background in all of them."""
    return torch.from_numpy(sum((case.annotated.astype(np.float32) for case in cases), np.zeros(classes, np.float32)))


def dice_before(logits: Tensor, labels: Tensor, annotated: Tensor, weights: Tensor, marginal: bool = True) -> Tensor:
    """Focal and Dice, the background not among the Dice's classes."""
    p = losses.log_probabilities(logits, labels, annotated, marginal)[0].exp()
    g = losses.one_hot(labels, logits.shape[1])
    dice = ((1 - losses.class_dice(p, g)) * losses.drawn_and_present(g, annotated)).sum() / logits.shape[0]
    return losses.focal_loss(logits, labels, annotated, weights, marginal=marginal) + dice


class TrueCentres(focus.Staged):
    """FocusNet whose last stage sees boxes around the true centres alone."""

    def forward(self, image: Tensor, labels: Tensor, annotated: Tensor) -> Tensor:
        if self.stage != "joint":
            return super().forward(image, labels, annotated)
        patch, centres = focus.Patch(image, labels, annotated), focus.centres_of(labels, self.net.small)
        parts = self._half(lambda: self.net.parts(image, centres))
        boxes = focus.box_loss(parts, patch, self.net.small)
        heat = focus.heat_loss(parts.heat, centres, annotated, self.net.small)
        return self._semantic(parts.semantic, patch) + boxes + heat


def read_as_before(question: str) -> None:
    """This process reads one loss as it was read before."""
    if question == "background":
        trainer.drawn_counts = background_before
    elif question == "dice":
        losses.focal_dice = dice_before
    else:
        focus.Staged = trainer.Staged = TrueCentres  # type: ignore[misc]


def train(question: Question, before: bool, folder: Path, asked: argparse.Namespace, seed: int, count: int) -> None:
    """Train the first `count` members in `folder`, and measure the last one."""
    recipe = yaml.safe_load((RECIPES / question.recipe).read_text())
    members = []
    for number, member in enumerate(question.members[:count]):
        share = member.get("steps", 1.0)
        members.append({**member, "seed": 100 * seed + number, "steps": max(1, round(share * asked.steps))})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "asked.yaml"
    file.write_text(yaml.safe_dump({**recipe, "members": members, "schedule": {"name": "cosine", "warmup": 30}}))
    command = [sys.executable, __file__, *([AS_BEFORE, question.name] if before else [AS_BEFORE, ""])]
    options = ["--data", str(asked.train), "--out", str(folder), "--threads", str(asked.threads)]
    subprocess.run([*command, "train", str(file), *options], check=True)


def measured(question: Question, folder: Path, validation: Path) -> dict[str, float]:
    """Mean Dice per organ of the last member over the validation patients."""
    name = question.members[-1]["name"]
    scores = folder / name / "validation.csv"
    if not scores.is_file():
        command = [sys.executable, __file__, AS_BEFORE, "", "score", str(folder / "recipe.yaml")]
        subprocess.run([*command, "--runs", str(folder), "--data", str(validation), "--member", name], check=True)
    found: dict[str, list[float]] = defaultdict(list)
    with scores.open() as file:
        for row in csv.DictReader(file):
            found[row["organ"]].append(float(row["dice"]))
    return {organ: round(statistics.mean(values), 3) for organ, values in found.items()}


def answer(question: Question, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Both runs of one question and seed."""
    place = asked.work / f"{question.name}-{seed}"
    if question.shared:
        train(question, False, place / "shared", asked, seed, question.shared)
    found: dict[str, Any] = {"question": question.name, "seed": seed, "steps": asked.steps}
    for way in ("paper", "before"):
        if question.shared and not (place / way).exists():
            shutil.copytree(place / "shared", place / way)
        train(question, way == "before", place / way, asked, seed, len(question.members))
        found[way] = measured(question, place / way, asked.validation)
        found[way]["mean"] = round(statistics.mean(found[way].values()), 3)
        print(f"{question.name}, seed {seed}, {way}: {found[way]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--question", action="append", choices=[one.name for one in QUESTIONS], help="not all of them")
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    for seed in range(1, asked.seeds + 1):
        for question in (one for one in QUESTIONS if not asked.question or one.name in asked.question):
            line = json.dumps({**answer(question, seed, asked), "cores": os.cpu_count()})
            if asked.log:
                with asked.log.open("a") as log:
                    log.write(line + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [AS_BEFORE]:
        read_as_before(sys.argv[2]) if sys.argv[2] else None
        sys.argv[1:3] = []
        app.main()
    else:
        main()
