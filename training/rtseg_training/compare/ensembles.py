"""Ensembles compared at equal budgets: what members gain together, and whether their disagreement tells of bad organs.

One ensemble of each kind cannot tell how another draw of seeds would do: intervals are over patients alone.
"""

import csv
import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.calibration import StrictModel
from rtseg_daemon.segment.uncertainty import pairwise_dice, volume_variation
from rtseg_training.bundle.lineage import ancestry, training_of
from rtseg_training.compare.listing import load_list
from rtseg_training.compare.questions import DiceOfCases, difference, mean_dice
from rtseg_training.compare.score import finished, kept_part, read_facts
from rtseg_training.errors import RecipeError
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Member, Recipe
from rtseg_training.learn.validation import class_scores
from rtseg_training.measure.statistics import auroc, bootstrap_of

CSV, FACTS = "ensemble.csv", "ensemble.json"
COLUMNS = ("case", "organ", "dice", "alone", "pairwise_dice", "vvc")
"""`dice` of all together, `alone` the mean of the members' own; disagreement as the daemon measures it."""

UNACCEPTABLE = 0.5
"""DSC below which an organ is bad whatever the others are."""
WORST_SHARE = 10.0
"""Per cent of an organ's cases that are its worst."""


class EnsembleOf(StrictModel):
    """One ensemble: the folder below the logs into which `score --ensemble` wrote."""

    label: str
    scored: str


class EnsembleQuestion(StrictModel):
    """One comparison of ensembles: the first row is what the others are compared with.

    Args:
        paper: what the paper says, with its place.
        remark: what these figures allow to say.
    """

    title: str
    paper: str
    rows: list[EnsembleOf]
    remark: str = ""


def load_ensembles(path: Path) -> list[EnsembleQuestion]:
    """Read the comparisons. Raises RecipeError naming what is wrong."""
    return load_list(path, EnsembleQuestion)


def organ_row(truth: Array, votes: Sequence[Array], together: Array) -> dict[str, float]:
    """An organ's figures from boolean masks `(z, y, x)`: the drawn one, each member's and the ensemble's."""
    sizes = [float(mask.sum()) for mask in votes]
    shared = [float((a & b).sum()) for a, b in combinations(votes, 2)]
    agreement, variation = pairwise_dice(sizes, shared), volume_variation(sizes)
    return {
        "dice": dice(truth, kept_part(together)),
        "alone": float(np.mean([dice(truth, kept_part(mask)) for mask in votes])),
        # where no member finds the organ all agree; that it is missed is flagged in another way
        "pairwise_dice": 1.0 if agreement is None else agreement,
        "vvc": variation or 0.0,
    }


def score_ensemble(
    recipe: Recipe, members: Sequence[Member], runs: Path, folder: Path, cases: Sequence[TrainingCase],
    tick: Callable[[str], None],
) -> None:  # fmt: skip
    """Measure members together, each weighed alike, and write `ensemble.csv` and `ensemble.json` into `folder`.

    Raises CheckpointError and RecipeError as `score_run` does.
    """
    opened = [finished(recipe, one, runs / one.name) for one in members]
    rows: list[tuple[str, ...]] = []
    for case in cases:
        scores = [class_scores(net, case.hu.array, mine, torch.device("cpu")) for mine, net in opened]
        votes, together, labels = [one.argmax(0) for one in scores], np.sum(scores, 0).argmax(0), case.labels
        for k, name in enumerate(recipe.classes, 1):
            truth = labels == k
            if case.annotated[k] and truth.any():
                row = organ_row(truth, [vote == k for vote in votes], together == k)
                rows.append((case.name, name, *(f"{row[key]:.4f}" for key in COLUMNS[2:])))
        tick(case.name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / CSV).open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    (folder / FACTS).write_text(json.dumps(facts_of(recipe, members, runs), indent=1) + "\n")


def facts_of(recipe: Recipe, members: Sequence[Member], runs: Path) -> dict[str, Any]:
    """Members, and what their training cost: all steps and seconds, those of the runs they began with too."""
    names = [one.name for one in members]
    return {"recipe": recipe.name, "members": names, **training_of(ancestry(runs, recipe, names))}


def read_ensemble(folder: Path) -> list[dict[str, str]]:
    """A scored ensemble's rows. Raises RecipeError with the command that scores it."""
    path = folder / CSV
    if not path.is_file():
        raise RecipeError(
            f"{path} is missing; score the members with: rtseg-train score RECIPE --runs {folder.parent} "
            f"--ensemble {folder.name} --member ..."
        )
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def runs_of_ensembles(questions: Sequence[EnsembleQuestion], logs: Path) -> list[Path]:
    """The folders of all runs that the ensembles are made of, or began with."""
    folders = [logs / row.scored for question in questions for row in question.rows]
    return [folder.parent / name for folder in folders for name in read_facts(folder / FACTS, "ensemble")["runs"]]


def scores_in(rows: Sequence[dict[str, str]], key: str) -> DiceOfCases:
    """One column by case and organ."""
    return {(row["case"], row["organ"]): float(row[key]) for row in rows}


def worst(rows: Sequence[dict[str, str]]) -> Array:
    """Which rows have a DSC below their organ's 10th percentile."""
    own: dict[str, list[float]] = {}
    for row in rows:
        own.setdefault(row["organ"], []).append(float(row["dice"]))
    limits = {organ: np.percentile(values, WORST_SHARE) for organ, values in own.items()}
    return np.asarray([float(row["dice"]) < limits[row["organ"]] for row in rows])


def found_by_disagreement(rows: Sequence[dict[str, str]], bad: Array) -> str:
    """AUROC of 1 - Dice between members for the bad rows, with its interval over patients."""
    doubt = np.asarray([1 - float(row["pairwise_dice"]) for row in rows])
    low, high = bootstrap_of(lambda k: auroc(doubt[k], bad[k]), np.asarray([row["case"] for row in rows]))
    return f"{auroc(doubt, bad):.3f} ({low:.3f} to {high:.3f})"


HEAD = [
    "| | mean DSC of one | together | difference (95 % patient bootstrap) | gain | Dice between members "
    "| AUROC, DSC below 0.5 | AUROC, DSC below the 10th percentile | steps | hours |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def ensemble_line(label: str, folder: Path, base: DiceOfCases | None) -> str:
    """One row of the table. `base` is what its DSC is compared with."""
    rows, facts = read_ensemble(folder), read_facts(folder / FACTS, "ensemble")
    together = scores_in(rows, "dice")
    alone, agreement = mean_dice(scores_in(rows, "alone")), mean_dice(scores_in(rows, "pairwise_dice"))
    cells = [label, f"{alone:.3f}", f"{mean_dice(together):.3f}", "-"]
    if base is not None:
        gain, (low, high) = difference(base, together)
        cells[-1] = f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"
    bad = np.asarray([value < UNACCEPTABLE for value in together.values()])
    cells += [f"{mean_dice(together) - alone:+.3f}", f"{agreement:.3f}"]
    cells += [found_by_disagreement(rows, bad), found_by_disagreement(rows, worst(rows))]
    cells += [str(facts["steps"]), f"{facts['training_seconds'] / 3600:.2f}"]
    return "| " + " | ".join(cells) + " |"


def ensemble_lines(question: EnsembleQuestion, logs: Path) -> list[str]:
    """A comparison as Markdown."""
    first, *others = question.rows
    base = scores_in(read_ensemble(logs / first.scored), "dice")
    lines = [f"### {question.title}", "", f"Paper: {question.paper}", "", *HEAD]
    lines.append(ensemble_line(first.label, logs / first.scored, None))
    lines += [ensemble_line(row.label, logs / row.scored, base) for row in others]
    return lines + (["", question.remark] if question.remark else [])
