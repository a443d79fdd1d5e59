"""docs/results.md: what was measured, from the logs and reports of the runs that measured it, and from nothing else."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtseg_daemon.bundles import Bundle
from rtseg_training.bundle.card import calibration_lines, member_lines, organ_lines
from rtseg_training.bundle.foretelling import WRONG_TRUTH, wrong_truth
from rtseg_training.compare.ensembles import EnsembleQuestion, ensemble_lines
from rtseg_training.compare.methods import Method, Speeds, method_lines
from rtseg_training.compare.questions import Question, question_lines
from rtseg_training.measure.tables import organs_in, read_csv


def run_line(folder: Path) -> str | None:
    """One member's training as a table row: steps, minutes, mean loss of the last 200 steps, last validation."""
    path = folder / "log.csv"
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return None
    late = [float(row["loss"]) for row in rows[-20:]]
    measured = [row for row in rows if any(row[key] for key in list(row)[3:])]
    scores = [float(value) for value in list(measured[-1].values())[3:] if value] if measured else []
    dice = f"{np.mean(scores):.3f} (step {measured[-1]['step']})" if scores else "-"
    minutes = float(rows[-1]["seconds"]) / 60
    return f"| {folder.name} | {rows[-1]['step']} | {minutes:.1f} | {np.mean(late):.3f} | {dice} |"


def training_lines(runs: Path) -> list[str]:
    """Every member's training below `runs`."""
    lines = ["| member | steps | minutes | loss | validation DSC while training |", "|---|---|---|---|---|"]
    found = [run_line(folder) for folder in sorted(runs.iterdir()) if folder.is_dir()]
    return lines + [line for line in found if line is not None]


def level_lines(report: Path) -> list[str]:
    """The entropy table of an evaluation's report."""
    with (report / "levels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = ["| vote entropy | voxels | error rate |", "|---|---|---|"]
    for row in rows:
        voxels, wrong = float(row["voxels"]), float(row["wrong"])
        lines.append(f"| {float(row['entropy']):.4f} | {voxels:.0f} | {wrong / max(1.0, voxels):.3f} |")
    return lines


def bad_lines(report: Path) -> list[str]:
    """The organs with a Dice below their organ's 10th percentile: how much was drawn, found and predicted."""
    rows = [row for row in read_csv(report / "cases.csv") if "predicted" in row]
    bad = []
    for organ in organs_in(rows):
        own = [row for row in rows if row["organ"] == organ]
        limit = np.percentile([float(row["dice"]) for row in own], 10)
        bad += [row for row in own if float(row["dice"]) < limit]
    unlike = [row for row in bad if not 0.5 <= float(row["true_ml"]) / float(row["volume_ml"]) <= 2]
    lines = [
        "DSC below the organ's 10th percentile; a flag can foresee only what CT or members' disagreement show. "
        f"In {len(unlike)} of these {len(bad)} the volume drawn is less than half or more than twice the volume found.",
        "",
        "| case | organ | DSC | predicted | VVC | drawn ml | found ml |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(bad, key=lambda row: (str(row["case"]), str(row["organ"]))):
        figures = [f"{float(row[key]):.2f}" if key in row else "-" for key in ("dice", "predicted", "vvc")]
        volumes = [f"{float(row[key]):.1f}" for key in ("true_ml", "volume_ml")]
        lines.append(f"| {row['case']} | {row['organ']} | {' | '.join(figures + volumes)} |")
    return lines


def wrong_lines(report: Path) -> list[str]:
    """The contours that taught the calibration nothing, since they cannot be of their organ."""
    rows = [row for row in read_csv(report / "cases.csv") if "true_ml" in row]
    lines = [
        f"Nothing is learned of an organ that is drawn with more than {WRONG_TRUTH:g} times its median volume here, or "
        "with less than the inverse of that: the contour is of something else, or of a part.",
        "",
        "| case | organ | drawn ml | median ml | found ml | DSC |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(wrong_truth(rows), key=lambda row: (str(row["organ"]), str(row["case"]))):
        median = np.median([float(one["true_ml"]) for one in rows if one["organ"] == row["organ"]])
        volumes = " | ".join(f"{float(v):.1f}" for v in (row["true_ml"], median, row["volume_ml"]))
        lines.append(f"| {row['case']} | {row['organ']} | {volumes} | {float(row['dice']):.2f} |")
    return lines


def stress_lines(folders: Sequence[Path]) -> list[str]:
    """What `rtseg-train stress` printed, one table after the other."""
    lines = [
        "Copies of cases with one fault each. Held are those that wait for a person. Unacceptable are organs with a "
        "DSC below the bundle's limit, silent are those of them that say OK. A bundle without calibration flags all."
    ]
    for folder in folders:
        lines += ["", (folder / "stress.md").read_text(encoding="utf-8").strip()]
    return lines


FIGURES = {
    "dice.png": "Dice per organ",
    "entropy.png": "error rate per level of vote entropy (seed 001, Fig. 12)",
    "vvc.png": "VVC against Dice (seed 001, Fig. 13)",
}


def figure_lines(report: Path, page: Path) -> list[str]:
    """The report's figures, linked from a page in the folder `page`."""
    shown = [(report / name, title) for name, title in FIGURES.items() if (report / name).is_file()]
    return [f"![{title}]({linked(path, page)})" for path, title in shown]


def linked(path: Path, page: Path) -> str:
    """A file as a page in the folder `page` links it."""
    return Path(os.path.relpath(path.resolve(), page.resolve())).as_posix()


METHODS = (
    "DSC on the validation patients through the daemon's pipeline. Hours are the wall time of all runs that a "
    "bundle is made of, added up, most of them on one core with another run beside it. Seconds a case are medians "
    "of bench/methods.py on CTs of 128 x 128 x 128 voxels of about 4 mm, on a processor with bf16 products. The "
    "papers had other patients, organs and grids: their figures say what each method can do there, not what it "
    "should do here."
)

BUDGET = (
    "Equal and small budgets, far fewer patches than in the papers, and narrow networks: width 8 (3D-SepNet, 3D "
    "U-Net), 10 to 16 (AnatomyNet), 8 to 32 (FocusNet), half of the paper's (targets). Steps are those of one run "
    "and of all that it began with. The difference is one of means over organs, of seeds averaged, and its "
    "interval is over patients. Seconds a step and a case are of shared processors and compare roughly at best. "
    "The papers' 22 organs at 1 mm cannot be had here: OpenKBP has seven of them, on voxels of about 4 mm. Left "
    "out, so that these could have three seeds: NLF1, L_Exp, residual and SE U-Nets (seed 001), each module of "
    "the targets' network alone and its three scales (seed 002)."
)


ENSEMBLES = (
    "Members are weighed alike, on the recipe's grid. AUROC is that of the disagreement, 1 - Dice between members, for "
    "bad organs. Steps and hours are of all runs together, those that members began with too. There is one ensemble of "
    "each kind, so that intervals are over patients and say nothing of other seeds."
)


def bundle_lines(bundle: Bundle) -> list[str]:
    """Another method's bundle: what it is, what it measured, and its members."""
    known = [f"- {key}: {value}" for key, value in bundle.provenance.items()]
    lines = [f"### {bundle.name} {bundle.version} ({bundle.family}, {bundle.intended_use})", "", *known, ""]
    lines += organ_lines(bundle)
    return lines + (["", *member_lines(bundle)] if len(bundle.members) > 1 else [])


@dataclass(frozen=True)
class Others:
    """What the page tells beside its bundle.

    Args:
        bundles: those of the other methods.
        methods: all methods, for the table, and how fast they are.
        questions: the papers' comparisons, answered by the runs in `logs`.
        curves: pictures of how the rows of a comparison learned, by its title.
        ensembles: comparisons of ensembles, scored in `logs` too.
    """

    bundles: Sequence[Bundle] = ()
    methods: Sequence[Method] = ()
    speeds: Speeds = field(default_factory=dict)
    questions: Sequence[Question] = ()
    logs: Path = Path()
    curves: Mapping[str, Path] = field(default_factory=dict)
    ensembles: Sequence[EnsembleQuestion] = ()


def table_lines(bundle: Bundle, others: Others) -> list[list[str]]:
    """The part with all methods, where they are named."""
    if not others.methods:
        return []
    lines = method_lines(others.methods, [bundle, *others.bundles], others.speeds)
    return [["## All methods", "", METHODS, "", *lines]]


def further(others: Others, page: Path) -> list[list[str]]:
    """The parts of the page about the other methods and the papers' comparisons, where there are any."""
    parts: list[list[str]] = []
    if others.bundles:
        parts.append(["## The other methods' bundles"])
        parts += [bundle_lines(other) for other in others.bundles]
    if others.questions:
        parts.append(["## The papers' comparisons on these patients", "", BUDGET])
    for question in others.questions:
        picture = others.curves.get(question.title)
        shown = [] if picture is None else ["", f"![how they learned]({linked(picture, page)})"]
        parts.append([*question_lines(question, others.logs), *shown])
    if others.ensembles:
        parts.append(["## Ensembles at equal budgets", "", ENSEMBLES])
        parts += [ensemble_lines(question, others.logs) for question in others.ensembles]
    return parts


NOTHING_ELSE = Others()


def results(
    bundle: Bundle, runs: Path, report: Path, commands: Sequence[str], page: Path,
    others: Others = NOTHING_ELSE, stress: Sequence[Path] = (),
) -> str:  # fmt: skip
    """The page as Markdown, for the folder `page`."""
    known = bundle.provenance
    parts = [
        [f"# Results: {bundle.name} {bundle.version}", "", "Written by `rtseg-train results` from logs and reports."],
        *table_lines(bundle, others),
        ["## Commands", "", "```", *commands, "```"],
        ["## Training", "", *(f"- {key}: {value}" for key, value in known.items()), "", *training_lines(runs)],
        ["## Validation", "", *organ_lines(bundle)],
        ["## Members and ensemble", "", *member_lines(bundle)],
        [
            "## Error rate inside predicted organs per level of vote entropy",
            "",
            "The paper found about 20 % at zero entropy (seed 001, Fig. 12c).",
            "",
            *level_lines(report),
        ],
        ["## Calibration", "", *calibration_lines(bundle)],
        ["### Bad organs", "", *bad_lines(report)],
        ["### Contours left out", "", *wrong_lines(report)],
        *([["## Faulty copies", "", *stress_lines(stress)]] if stress else []),
        ["## Figures", "", *figure_lines(report, page)],
        *further(others, page),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"
