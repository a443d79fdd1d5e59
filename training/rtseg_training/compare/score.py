"""Every run of a recipe measured on held-out cases: one row per case and organ, from which comparisons are made."""

import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.segment.body import largest_object
from rtseg_training.bundle.lineage import ancestry, training_of
from rtseg_training.errors import RecipeError
from rtseg_training.learn.account import check_finished, check_owner, check_plan
from rtseg_training.learn.checkpoint import load_into, read_meta, read_weights
from rtseg_training.learn.focus import answering, check_measured
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Member, Recipe
from rtseg_training.learn.trainer import network_of
from rtseg_training.learn.validation import predict

CSV, FACTS = "validation.csv", "run.json"


def trained(recipe: Recipe, checkpoint: Path) -> nn.Module:
    """The network of a run with its averaged weights. Raises CheckpointError if they are missing or another's."""
    net = network_of(recipe)
    load_into(checkpoint, net, read_weights(checkpoint))
    return answering(net.eval(), recipe)


def kept_part(mask: Array) -> Array:
    """An organ's largest part, as the daemon keeps it, or the empty mask."""
    return largest_object(mask) if mask.any() else mask


def score_case(net: nn.Module, case: TrainingCase, recipe: Recipe) -> dict[str, float]:
    """Dice of every organ that is drawn in the case, its largest part as the daemon keeps it, on the recipe's grid."""
    found = predict(net, case.hu.array, recipe, torch.device("cpu"))
    scores, labels = {}, case.labels
    for k, name in enumerate(recipe.classes, 1):
        truth = labels == k
        if case.annotated[k] and truth.any():
            scores[name] = dice(truth, kept_part(found == k))
    return scores


def finished(recipe: Recipe, member: Member, folder: Path) -> tuple[Recipe, nn.Module]:
    """A member's own recipe and its network. Raises as `score_run` does."""
    check_measured(recipe)
    mine = recipe.for_member(member)
    checkpoint = folder / "checkpoint.safetensors"
    meta = read_meta(checkpoint)
    check_owner(checkpoint, meta, recipe.name, member.name)
    check_plan(checkpoint, meta, mine)
    check_finished(checkpoint, meta, mine)
    return mine, trained(mine, checkpoint)


def score_run(
    recipe: Recipe, member: Member, runs: Path, cases: Sequence[TrainingCase], tick: Callable[[str], None]
) -> None:
    """Measure one of the `runs` and write `validation.csv` and `run.json` beside its log.

    Its steps and seconds are those of the runs that it began with too.

    Raises CheckpointError for a checkpoint of another recipe or member, or of one that is not finished, RecipeError for
    a recipe without what `train` measured.
    """
    folder = runs / member.name
    mine, net = finished(recipe, member, folder)
    began = time.perf_counter()
    rows: list[tuple[str, str, str]] = []
    for case in cases:
        rows += [(case.name, organ, f"{value:.4f}") for organ, value in score_case(net, case, mine).items()]
        tick(f"{member.name} {case.name}")
    facts = {
        "recipe": recipe.name,
        "family": mine.family,
        "seed": member.seed,
        "parameters": sum(p.numel() for p in net.parameters()),
        **training_of(ancestry(runs, recipe, [member.name])),
        "seconds_per_case": round((time.perf_counter() - began) / len(cases), 3),
    }
    with (folder / CSV).open("w", newline="") as file:
        csv.writer(file).writerows([("case", "organ", "dice"), *rows])
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def read_facts(path: Path, what: str) -> dict[str, Any]:
    """What was written of a run or an ensemble. Raises RecipeError where it is missing or damaged."""
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        return facts
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path} cannot be read ({error}); score the {what} again") from error
