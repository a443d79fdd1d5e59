"""What a bundle's figures may claim: member weights, temperature, predicted Dice with its interval, and thresholds.

Everything is fitted on validation cases only. They are few, so all measured figures are cross-fitted: a case's
ensemble weights, temperature, prediction and interval come from the other folds. What the bundle carries is then
fitted on all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.segment.ensemble import Ensemble
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_daemon.segment.prediction import DISAGREEMENT
from rtseg_training.bundle.collect import Collected
from rtseg_training.bundle.foretelling import (
    CERTAINTY,
    MINIMUM_OF_ORGAN,
    Fitted,
    calibrations,
    fit,
    patient_of,
    quality,
    wrong_truth,
)
from rtseg_training.bundle.weighing import crossed_bundles, described, voxel_error
from rtseg_training.measure import statistics as st
from rtseg_training.measure.evaluate import Evaluation, TableRow, add_case, doubtful_level
from rtseg_training.measure.stress import copy_rows, faulty_copies
from rtseg_training.sets.cases import Case, silent

FOLDS = 8


@dataclass(frozen=True)
class Result:
    """A calibrated bundle (not written yet), its cross-fitted evaluation, and the figures of the calibration."""

    bundle: Bundle
    evaluation: Evaluation
    figures: dict[str, float]
    member_means: dict[str, float]


@dataclass(frozen=True)
class Further:
    """More organs with a known truth than the validation cases give.

    Args:
        copies: how many copies with a fault of each validation case.
        seed: of the copies.
        rows: of cases that other members of the same recipe answered for without having learned them.
    """

    copies: int = 0
    seed: int = 0
    rows: Sequence[TableRow] = ()


NOTHING_FURTHER = Further()


def calibrate(
    segmenter: Segmenter,
    collected: Sequence[Collected],
    tolerance_mm: float = 3.0,
    further: Further = NOTHING_FURTHER,
    report: Callable[[str], None] = silent,
) -> Result:
    """Fit everything on the collected cases. Raises CalibrationError where they are too few."""
    folds = st.folds_of_groups([one.patient or one.name for one in collected], FOLDS)
    crossed, final, samples = crossed_bundles(segmenter, collected, folds)
    evaluation = Evaluation()
    alone, copied = [], []
    for case, bundle in zip(collected, crossed, strict=True):
        said = described(segmenter, bundle, case)
        add_case(evaluation, case.load(), said, bundle, tolerance_mm)
        alone.append(voter_scores(case, said.ensemble))
    evaluation.seconds.clear()  # stored members: nothing was inferred
    for number, (one, bundle) in enumerate(zip(collected, crossed, strict=True)):
        own = Segmenter(bundle, segmenter.engine)
        for copy, fault in faulty_copies(one.load(), number, further.copies, further.seed):
            copied += copy_rows(copy, fault, segmented_organs(own, copy), tolerance_mm)
            report(copy.name)
    names, acceptable = [c.name for c in final.classes], [c.acceptable for c in final.classes]
    fold_of_case = {case.name: int(fold) for case, fold in zip(collected, folds, strict=True)}
    beside = aligned(further.rows, evaluation.rows)
    patients = sorted({patient_of(row) for row in beside})
    fold_of_case |= dict(zip(patients, map(int, st.folds_of(len(patients), FOLDS)), strict=True))
    fitted = fit([*evaluation.rows, *copied, *beside], names, fold_of_case, acceptable)
    add_predictions(fitted)
    figures = quality(fitted, names, acceptable) | {
        "missed": float(sum(float(row["volume_ml"]) == 0 for row in evaluation.rows)),
        "wrong_truth": float(len(wrong_truth(evaluation.rows))),
        "ece_voxels_raw": voxel_error(samples, [1.0] * len(samples)),
        "ece_voxels": voxel_error(samples, [bundle.temperature for bundle in crossed]),
        "temperature": final.temperature,
    }
    final = final.model_copy(update={"entropy_level": doubtful_level(evaluation.levels) or final.entropy_level})
    calibrated = with_calibration(final, fitted, segmenter.bundle)
    return Result(calibrated, evaluation, figures, voter_means(final, np.stack(alone)))


def segmented_organs(segmenter: Segmenter, copy: Case) -> Sequence[Organ]:
    """What the bundle finds in a copy, nothing where it sees no body."""
    try:
        return segmenter.segment_volume(copy.ct).organs
    except SeriesError:
        return ()


def aligned(rows: Sequence[TableRow], own: Sequence[TableRow]) -> list[TableRow]:
    """Rows of another ensemble with its disagreement put on the scale of this one's.

    Fewer or smaller members disagree more or less than these. Per organ and figure, the other ensemble's median and
    spread on its unaltered cases become those of `own`.
    """
    out = [dict(row) for row in rows]
    for organ in {str(row["organ"]) for row in rows}:
        theirs = [row for row in out if row["organ"] == organ]
        plain = [row for row in theirs if not row.get("fault")]
        mine = [row for row in own if row["organ"] == organ]
        for name in DISAGREEMENT:
            here = [float(row[name]) for row in mine if name in row]
            there = [float(row[name]) for row in plain if name in row]
            if len(here) < MINIMUM_OF_ORGAN or len(there) < MINIMUM_OF_ORGAN:
                continue
            (to, wide), (at, spread) = middle_of(here), middle_of(there)
            for row in theirs:
                if name in row:
                    row[name] = to + (float(row[name]) - at) * wide / spread
    return out


def middle_of(values: Sequence[float]) -> tuple[float, float]:
    """Median and interquartile range, which is never 0."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), max(float(high - low), 1e-6)


def add_predictions(fitted: Fitted) -> None:
    """Put the out-of-fold predictions into the rows, for the table."""
    found = zip(fitted.known.rows, fitted.predicted, fitted.low, fitted.high, fitted.risk, strict=True)
    for row, p, low, high, risk in found:
        row |= {"predicted": float(p), "low": float(low), "high": float(high), "unacceptable": float(risk)}


def with_calibration(bundle: Bundle, fitted: Fitted, old: Bundle) -> Bundle:
    """`bundle` with each class's prediction and the rates, where enough validation cases have the organ.

    Of another organ nothing new is known: it keeps its members' weights and its factor of `old`, and has no
    calibration, since one of other weights and another temperature would not hold.
    """
    models, known = calibrations(fitted, len(bundle.classes)), fitted.known
    classes = []
    for k, (organ, before) in enumerate(zip(bundle.classes, old.classes, strict=True)):
        blank: dict[str, object] = {"calibration": None, "review_below": None, "reject_below": None}
        if (known.plain & (known.group == k)).sum() >= MINIMUM_OF_ORGAN:
            classes.append(organ.model_copy(update=blank | {"calibration": models[k]}))
        else:
            classes.append(before.model_copy(update=blank))
    rates = {"review_above": round(fitted.review_above, 4), "reject_above": CERTAINTY}
    return bundle.model_copy(update={"classes": classes, **rates})


def voter_scores(case: Collected, ensemble: Ensemble) -> Array:
    """Dice `(members + 1, organs)` of every member's own votes and, last, of the ensemble, on the network's grid."""
    labels, truth = [*ensemble.votes, ensemble.labels], case.truth
    scores = np.full((len(labels), case.member_dice.shape[1]), np.nan)
    for k in np.flatnonzero(np.isfinite(case.member_dice[0])):
        scores[:, k] = [dice(truth == k + 1, own == k + 1) for own in labels]
    return scores


def voter_means(bundle: Bundle, scores: Array) -> dict[str, float]:
    """Mean over organs of the mean over cases `(cases, members + 1, organs)`, for each member and the ensemble."""
    drawn = np.isfinite(scores).any(axis=(0, 1))
    means = np.nanmean(scores[:, :, drawn], axis=0).mean(axis=1)
    names = [*(member.name for member in bundle.members), "ensemble"]
    return {name: float(mean) for name, mean in zip(names, means, strict=True)}
