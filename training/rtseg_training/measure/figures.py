"""The papers' figures: Dice per organ, error rate per entropy level, VVC against Dice."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtseg_training.measure.evaluate import Evaluation
from rtseg_training.measure.tables import organs_in


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure without any window system behind it."""
    figure = Figure(figsize=(width, height), layout="tight")
    return figure, figure.add_subplot()


def box_plots(evaluation: Evaluation, path: Path) -> None:
    """Dice per organ."""
    organs = organs_in(evaluation.rows)
    figure, axes = new_axes(1 + 1.1 * len(organs), 4)
    axes.boxplot([evaluation.of(organ, "dice") for organ in organs], tick_labels=organs, showmeans=True)
    axes.set_ylabel("Dice")
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", rotation=30)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=110)


def entropy_levels(evaluation: Evaluation, path: Path) -> None:
    """Error rate per vote entropy level inside predicted organs (seed 001, Fig. 12c)."""
    levels = sorted(evaluation.levels)
    rates = [evaluation.levels[level][1] / max(1, evaluation.levels[level][0]) for level in levels]
    figure, axes = new_axes(6, 4)
    axes.bar([f"{level:.3f}" for level in levels], rates)
    axes.set_xlabel("vote entropy (nats)")
    axes.set_ylabel("error rate inside predicted organs")
    axes.tick_params(axis="x", rotation=45)
    figure.savefig(path, dpi=110)


def vvc_against_dice(evaluation: Evaluation, path: Path) -> None:
    """Volume variation against Dice, one point per organ and case (seed 001, Fig. 13)."""
    figure, axes = new_axes(6, 4.5)
    for organ in organs_in(evaluation.rows):
        rows = [r for r in evaluation.rows if r["organ"] == organ and "vvc" in r]
        axes.scatter([float(r["vvc"]) for r in rows], [float(r["dice"]) for r in rows], s=12, label=organ)
    pairs = np.asarray([(float(r["vvc"]), float(r["dice"])) for r in evaluation.rows if "vvc" in r])
    if len(pairs) > 2 and pairs.std(axis=0).min() > 0:
        axes.set_title(f"r = {np.corrcoef(pairs.T)[0, 1]:.2f}")
    axes.set_xlabel("VVC")
    axes.set_ylabel("Dice")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def write_figures(folder: Path, evaluation: Evaluation) -> None:
    """All three as PNG in `folder`."""
    box_plots(evaluation, folder / "dice.png")
    entropy_levels(evaluation, folder / "entropy.png")
    if any("vvc" in row for row in evaluation.rows):
        vvc_against_dice(evaluation, folder / "vvc.png")
