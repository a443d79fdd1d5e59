"""How methods learned: the mean Dice on validation cases while they were trained, one line per row of a comparison."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtseg_training.compare.questions import Question, begun_with, there
from rtseg_training.measure.figures import new_axes

Curve = dict[int, float]
"""Mean Dice over organs by step."""

FACTS_OF_A_STEP = 3
"""Columns of a log before those of the organs: step, seconds, loss."""


def logged(run: Path) -> list[tuple[int, list[str]]]:
    """A run's steps, and the organs' cells of each. Empty where it has no log."""
    path = run / "log.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [(int(row[0]), row[FACTS_OF_A_STEP:]) for row in list(csv.reader(file))[1:]]


def curve_of(run: Path) -> Curve:
    """Where a run, and before it those that it began with, were validated, and how good they were."""
    curve: Curve = {}
    before = 0
    for name in reversed(begun_with(run)):
        rows = logged(run.parent / name)
        curve |= {before + step: float(np.mean([float(c) for c in cells if c])) for step, cells in rows if any(cells)}
        before += rows[-1][0] if rows else 0
    return curve


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over seeds at the steps where all were validated."""
    steps = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {step: float(np.mean([curve[step] for curve in curves])) for step in sorted(steps)}


def picture_name(question: Question) -> str:
    """A file name from a comparison's title."""
    return re.sub("[^a-z0-9]+", "-", question.title.lower()).strip("-") + ".png"


def draw_curves(question: Question, logs: Path, path: Path) -> bool:
    """The rows' curves as PNG, thin ones for the seeds. False, and no picture, where no row was validated twice."""
    asked, _ = there(question, logs)
    rows = [(row.label, [curve_of(logs / run) for run in row.runs]) for row in asked.rows]
    if all(len(mean_curve(curves)) < 2 for _, curves in rows):
        return False
    figure, axes = new_axes(7, 4)
    for number, (label, curves) in enumerate(rows):
        for curve in curves:
            axes.plot(list(curve), list(curve.values()), color=f"C{number}", alpha=0.35, linewidth=0.8)
        mean = mean_curve(curves)
        axes.plot(list(mean), list(mean.values()), color=f"C{number}", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("mean Dice on validation cases")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return True


def draw_all(questions: Sequence[Question], logs: Path, folder: Path) -> dict[str, Path]:
    """Every comparison's picture in `folder`, by its title, where there is one to draw."""
    paths = {question.title: folder / picture_name(question) for question in questions}
    return {q.title: paths[q.title] for q in questions if draw_curves(q, logs, paths[q.title])}
