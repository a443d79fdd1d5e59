"""The papers' comparisons, answered from scored runs: means, spread over seeds, and a bootstrap over patients.

One run cannot tell a method from a lucky seed: such a row is marked as no conclusion, whatever its interval says.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.calibration import StrictModel
from rtseg_training.compare.listing import load_list
from rtseg_training.compare.score import CSV, FACTS, read_facts
from rtseg_training.errors import RecipeError
from rtseg_training.measure.statistics import bootstrap_of

DiceOfCases = Mapping[tuple[str, str], float]
"""Dice of (case, organ)."""


class Variant(StrictModel):
    """One way of doing it: its runs, as folders below the logs, one per seed."""

    label: str
    runs: list[str]


class Question(StrictModel):
    """One comparison of the papers: the first row is what the others are compared with.

    Args:
        paper: what the paper says, with its place.
        organs: only these count, or all where it is empty.
        remark: what a reader must know of this budget.
    """

    title: str
    paper: str
    rows: list[Variant]
    organs: list[str] = Field(default_factory=list)
    remark: str = ""


@dataclass(frozen=True)
class Measured:
    """A row's runs: their scores per seed, and their facts (parameters, seconds)."""

    label: str
    seeds: list[DiceOfCases]
    facts: list[dict[str, Any]]


def load_questions(path: Path) -> list[Question]:
    """Read the comparisons. Raises RecipeError naming what is wrong."""
    return load_list(path, Question)


def read_scores(folder: Path, organs: Sequence[str]) -> DiceOfCases:
    """A scored run. Raises RecipeError with the command that scores it."""
    path = folder / CSV
    if not path.is_file():
        raise RecipeError(f"{path} is missing; score the run with: rtseg-train score RECIPE --runs {folder.parent}")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(r["case"], r["organ"]): float(r["dice"]) for r in rows if not organs or r["organ"] in organs}


def measured(row: Variant, logs: Path, organs: Sequence[str]) -> Measured:
    """Read a row's runs."""
    seeds = [read_scores(logs / run, organs) for run in row.runs]
    return Measured(row.label, seeds, [read_facts(logs / run / FACTS, "run") for run in row.runs])


def runs_of(questions: Sequence[Question], logs: Path) -> list[Path]:
    """The folders of all runs that were made and are compared, and of those that these began with."""
    folders = [logs / run for one in questions for row in there(one, logs)[0].rows for run in row.runs]
    return [folder.parent / name for folder in folders for name in begun_with(folder)]


def begun_with(run: Path) -> list[str]:
    """A scored run, the one whose weights it began with, and so on to the first.

    One that was scored before `score` wrote them down stands for itself alone.
    """
    names: list[str] = read_facts(run / FACTS, "run").get("runs", [run.name])
    return names


def mean_dice(scores: DiceOfCases) -> float:
    """Mean over organs of the mean over cases."""
    organs = {organ for _, organ in scores}
    return float(np.mean([np.mean([v for (_, o), v in scores.items() if o == organ]) for organ in organs]))


def averaged(seeds: Sequence[DiceOfCases]) -> DiceOfCases:
    """Mean over seeds of what all of them measured."""
    common = set.intersection(*(set(s) for s in seeds))
    return {key: float(np.mean([s[key] for s in seeds])) for key in common}


def difference(a: DiceOfCases, b: DiceOfCases) -> tuple[float, tuple[float, float]]:
    """b minus a, and its 95 % interval: the mean over organs of each one's mean over the patients that both measured.

    Patients are drawn again with replacement, each with all its organs. An organ that no drawn one has is left out.
    """
    common = sorted(set(a) & set(b))
    gain = np.asarray([b[key] - a[key] for key in common])
    organ = np.unique([name for _, name in common], return_inverse=True)[1]

    def mean(items: Array) -> float:
        counts, sums = np.bincount(organ[items]), np.bincount(organ[items], gain[items])
        return float(np.mean(sums[counts > 0] / counts[counts > 0]))

    return mean(np.arange(len(common))), bootstrap_of(mean, np.asarray([case for case, _ in common]), draws=5000)


def verdict(base: Measured, other: Measured, interval: tuple[float, float]) -> str:
    """What may be said: a method wins where it has three seeds, all above all of the other's, and 0 is outside."""
    if min(len(base.seeds), len(other.seeds)) < 3:
        return "no conclusion (too few seeds)"
    a, b = [mean_dice(s) for s in base.seeds], [mean_dice(s) for s in other.seeds]
    if min(b) > max(a) and interval[0] > 0:
        return "better"
    if max(b) < min(a) and interval[1] < 0:
        return "worse"
    return "too close to tell"


def row_line(base: Measured, row: Measured) -> str:
    """One row of a comparison's table."""
    means = [mean_dice(s) for s in row.seeds]
    spread = f" ({min(means):.3f} to {max(means):.3f})" if len(means) > 1 else ""
    facts = row.facts[0]
    cells = [row.label, str(len(means)), f"{np.mean(means):.3f}{spread}"]
    if row is base:
        cells += ["-", "-"]
    else:
        gain, interval = difference(averaged(base.seeds), averaged(row.seeds))
        cells += [f"{gain:+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})", verdict(base, row, interval)]
    step = float(np.mean([f["training_seconds"] / f["steps"] for f in row.facts]))
    case = float(np.median([f["seconds_per_case"] for f in row.facts]))
    cells += [f"{facts['parameters']:,}", str(facts["steps"]), f"{step:.2f}", f"{case:.2f}"]
    return "| " + " | ".join(cells) + " |"


HEAD = [
    "| | seeds | mean DSC | difference (95 % patient bootstrap) | verdict | parameters | steps | s a step | s a case |",
    "|---|---|---|---|---|---|---|---|---|",
]


def there(question: Question, logs: Path) -> tuple[Question, dict[str, int]]:
    """The question with the runs that were made, and how many of each row were not: those have no folder."""
    rows = [
        row.model_copy(update={"runs": [run for run in row.runs if (logs / run).is_dir()]}) for row in question.rows
    ]
    lacking = {asked.label: len(asked.runs) - len(row.runs) for asked, row in zip(question.rows, rows, strict=True)}
    kept = [row for row in rows if row.runs] if rows[0].runs else []
    return question.model_copy(update={"rows": kept}), {label: count for label, count in lacking.items() if count}


def question_lines(question: Question, logs: Path) -> list[str]:
    """A comparison as Markdown: what the paper says, what these runs say, and how many were not made yet."""
    asked, lacking = there(question, logs)
    rows = [measured(row, logs, asked.organs) for row in asked.rows]
    lines = [f"### {question.title}", "", f"Paper: {question.paper}", ""]
    lines += [*HEAD, *(row_line(rows[0], row) for row in rows), ""] if rows else []
    if question.organs:
        lines += [f"Organs: {', '.join(question.organs)}.", ""]
    if lacking:
        lines += [f"Runs to be trained yet: {', '.join(f'{n} of {label}' for label, n in lacking.items())}.", ""]
    if question.remark and rows:
        lines += [question.remark, ""]
    return lines[:-1]
