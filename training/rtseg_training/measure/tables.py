"""An evaluation as CSV and Markdown."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtseg_training.measure.evaluate import Evaluation, TableRow
from rtseg_training.sets.organs import weighted_mean

MEASURES = ("dice", "hd95_mm", "assd_mm", "surface_dice", "added_path_mm", "volume_error")
TITLES = ("DSC", "95HD mm", "ASSD mm", "surface DSC", "APL mm", "RVE")


def organs_in(rows: Sequence[TableRow]) -> list[str]:
    """Organs in the order of their first row."""
    return list(dict.fromkeys(str(row["organ"]) for row in rows))


def write_csv(path: Path, rows: Sequence[TableRow]) -> None:
    """All rows. A column that some rows lack is empty there."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5f}" if isinstance(v, float) else v for k, v in row.items()})


def read_csv(path: Path) -> list[TableRow]:
    """Rows as `write_csv` wrote them. Empty fields are left out."""
    with path.open(newline="") as file:
        return [{k: number(v) for k, v in line.items() if v != ""} for line in csv.DictReader(file)]


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def spread(values: np.ndarray, digits: int) -> str:
    """Mean and standard deviation of the finite values."""
    held = values[np.isfinite(values)]
    return f"{held.mean():.{digits}f} ± {held.std():.{digits}f}" if held.size else "-"


def summary(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Per organ the mean of every measure (RVE: mean of the absolute value), spread of the Dice, cases, misses."""
    out: dict[str, dict[str, float]] = {}
    for organ in organs_in(evaluation.rows):
        scores = {m: evaluation.of(organ, m) for m in MEASURES}
        scores["volume_error"] = np.abs(scores["volume_error"])
        figures = {m: float(v[np.isfinite(v)].mean()) for m, v in scores.items() if np.isfinite(v).any()}
        figures["dice_sd"] = float(scores["dice"].std())
        figures["dice_p10"] = float(np.percentile(scores["dice"], 10))
        figures["cases"] = float(scores["dice"].size)
        figures["missed"] = float((evaluation.of(organ, "volume_ml") == 0).sum())
        out[organ] = figures
    return out


def markdown(evaluation: Evaluation, tolerance_mm: float) -> str:
    """The table of a report: per organ mean ± standard deviation, then the means."""
    lines = [
        f"| organ | cases | missed | {' | '.join(TITLES)} |",
        f"|---|---|---|{'---|' * len(TITLES)}",
    ]
    means = summary(evaluation)
    for organ, figures in means.items():
        cells = []
        for measure in MEASURES:
            values = evaluation.of(organ, measure)
            values = np.abs(values) if measure == "volume_error" else values
            cells.append(spread(values, 1 if measure in ("hd95_mm", "assd_mm") else 0 if "path" in measure else 3))
        lines.append(f"| {organ} | {figures['cases']:.0f} | {figures['missed']:.0f} | {' | '.join(cells)} |")
    dice = {organ: figures["dice"] for organ, figures in means.items()}
    lines += ["", f"Mean DSC over organs {np.mean(list(dice.values())):.3f}"]
    weighted = weighted_mean(dice)
    if weighted is not None:
        lines[-1] += f", weighted by the challenge's importance (organs it has) {weighted:.3f}"
    lines[-1] += f". Surface DSC at {tolerance_mm:g} mm. Distances over cases in which the organ was found."
    if evaluation.seconds:
        lines[-1] += f" Median {np.median(evaluation.seconds):.1f} s a case."
    if evaluation.absent:
        lines += ["", absent_line(evaluation.absent)]
    return "\n".join(lines) + "\n"


def absent_line(rows: Sequence[TableRow]) -> str:
    """What was painted of organs that the scan does not hold."""
    parts = []
    for organ in organs_in(rows):
        found = [float(row["found_ml"]) for row in rows if row["organ"] == organ]
        wrong = sum(ml > 0 for ml in found)
        parts.append(f"{organ} in {wrong} of {len(found)} cases" + (f" (up to {max(found):.1f} ml)" if wrong else ""))
    return f"Found where the scan holds none: {', '.join(parts)}."


def level_table(evaluation: Evaluation) -> str:
    """Error rate inside predicted organs per vote entropy level (seed 001, Fig. 12c, and seed 002, table 4)."""
    total = sum(n for n, _ in evaluation.levels.values())
    lines = ["| vote entropy | voxels | share | error rate |", "|---|---|---|---|"]
    for level in sorted(evaluation.levels):
        voxels, wrong = evaluation.levels[level]
        lines.append(f"| {level:.4f} | {voxels} | {voxels / max(1, total):.3f} | {wrong / max(1, voxels):.3f} |")
    return "\n".join(lines) + "\n"


def write_report(folder: Path, evaluation: Evaluation, tolerance_mm: float, title: str) -> None:
    """`cases.csv`, `levels.csv` and `report.md` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "cases.csv", evaluation.rows)
    levels: list[TableRow] = [
        {"entropy": k, "voxels": float(n), "wrong": float(w)} for k, (n, w) in sorted(evaluation.levels.items())
    ]
    write_csv(folder / "levels.csv", levels)
    if evaluation.absent:
        write_csv(folder / "absent.csv", evaluation.absent)
    parts = [
        f"# {title}",
        markdown(evaluation, tolerance_mm),
        "## Error rate per entropy level",
        level_table(evaluation),
    ]
    (folder / "report.md").write_text("\n\n".join(part.strip() for part in parts) + "\n")
