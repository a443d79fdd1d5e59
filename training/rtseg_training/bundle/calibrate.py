"""What a bundle's figures may claim: member weights, temperature, predicted Dice with its interval, and thresholds.

Everything is fitted on validation cases only. They are few, so all measured figures are cross-fitted: a case's
ensemble weights, temperature, prediction and interval come from the other folds. What the bundle carries is then
fitted on all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.bundles import Bundle, Calibration
from rtseg_daemon.segment.ensemble import Ensemble
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_daemon.segment.uncertainty import FEATURES
from rtseg_training.bundle.collect import Collected
from rtseg_training.bundle.weighing import crossed_bundles, described, voxel_error
from rtseg_training.errors import CalibrationError
from rtseg_training.measure import statistics as st
from rtseg_training.measure.evaluate import Evaluation, TableRow, add_case, doubtful_level
from rtseg_training.measure.metrics import dice

FOLDS = 8
COVERAGE = 0.9
ATTENTION = 0.25
"""Share of each organ's validation cases that REVIEW may mark. A flag on everything is read by nobody."""
UNUSABLE = 0.5
"""REJECT below this share of the organ's median Dice."""
PENALTIES = ((1.0, 10.0), (1.0, 100.0), (5.0, 30.0), (5.0, 300.0), (30.0, 300.0))
MINIMUM_CASES = 8
MINIMUM_OF_ORGAN = 5


@dataclass(frozen=True)
class Fitted:
    """The regression from features to Dice on rows with every feature.

    Args:
        x, y, group, patient, fold: features `(n, p)`, Dice, organ number, case and its fold of each row.
        predicted, low, high: out-of-fold prediction and interval of each row.
    """

    rows: list[TableRow]
    x: Array
    y: Array
    group: Array
    patient: Array
    fold: Array
    predicted: Array
    low: Array
    high: Array
    penalty: tuple[float, float]


def feature_names(rows: Sequence[TableRow]) -> list[str]:
    """The features that every found organ has (those between members are missing for a single member)."""
    found = [row for row in rows if float(row["volume_ml"]) > 0]
    return [name for name in FEATURES if found and all(name in row for row in found)]


def out_of_fold(x: Array, y: Array, group: Array, fold: Array, groups: int, penalty: tuple[float, float]) -> Array:
    """Each row's prediction by a regression that has not seen its fold."""
    out = np.empty(len(y))
    for number in np.unique(fold):
        held = fold == number
        out[held] = st.fit_ridge(x[~held], y[~held], group[~held], groups, *penalty).predict(x[held], group[held])
    return out


def fold_intervals(residuals: Array, group: Array, fold: Array, groups: int) -> Array:
    """Each row's half-width from the residuals of the other folds."""
    out = np.empty(len(residuals))
    for number in np.unique(fold):
        held = fold == number
        out[held] = st.half_widths(residuals[~held], group[~held], groups, COVERAGE)[group[held]]
    return out


def fit(rows: Sequence[TableRow], organs: Sequence[str], fold_of_case: dict[str, int]) -> Fitted:
    """Cross-fitted prediction of Dice. Raises CalibrationError where there are too few cases."""
    names = feature_names(rows)
    usable = [row for row in rows if float(row["volume_ml"]) > 0]
    if len({row["case"] for row in usable}) < MINIMUM_CASES or not names:
        raise CalibrationError(
            f"a calibration needs at least {MINIMUM_CASES} validation cases with organs found in them"
        )
    x = np.asarray([[float(row[name]) for name in names] for row in usable])
    y = np.asarray([float(row["dice"]) for row in usable])
    group = np.asarray([organs.index(str(row["organ"])) for row in usable])
    patient = np.asarray([str(row["case"]) for row in usable])
    fold = np.asarray([fold_of_case[name] for name in patient])
    tried = {p: out_of_fold(x, y, group, fold, len(organs), p) for p in PENALTIES}
    penalty = min(tried, key=lambda p: float(np.abs(tried[p] - y).mean()))
    predicted = tried[penalty]
    half = fold_intervals(np.abs(predicted - y), group, fold, len(organs))
    low, high = np.maximum(predicted - half, 0), np.minimum(predicted + half, 1)
    return Fitted(usable, x, y, group, patient, fold, predicted, low, high, penalty)


def bad_organs(fitted: Fitted) -> Array:
    """Rows whose Dice lies below their organ's 10th percentile on validation."""
    out = np.zeros(len(fitted.y), bool)
    for k in np.unique(fitted.group):
        own = fitted.group == k
        out[own] = fitted.y[own] < np.percentile(fitted.y[own], 10)
    return out


def shortfall(fitted: Fitted) -> Array:
    """How far a row's prediction lies below its organ's 10th percentile of Dice: the suspicion behind the flag."""
    out = np.empty(len(fitted.y))
    for k in np.unique(fitted.group):
        own = fitted.group == k
        out[own] = np.percentile(fitted.y[own], 10) - fitted.predicted[own]
    return out


def quality(fitted: Fitted) -> dict[str, float]:
    """How well the predictions hold, all out of fold, and VVC alone beside them."""
    bad, suspicion = bad_organs(fitted), shortfall(fitted)
    covered = ((fitted.y >= fitted.low) & (fitted.y <= fitted.high)).astype(float)
    low, high = st.bootstrap_interval(covered, fitted.patient)
    flagged = crossed_flags(fitted)
    figures = {
        "organs": float(len(fitted.y)),
        "bad_organs": float(bad.sum()),
        "mean_absolute_error": float(np.abs(fitted.predicted - fitted.y).mean()),
        "correlation": float(np.corrcoef(fitted.predicted, fitted.y)[0, 1]),
        "coverage": float(covered.mean()),
        "coverage_low": low,
        "coverage_high": high,
        "interval_width": float((fitted.high - fitted.low).mean()),
        "auroc": st.auroc(suspicion, bad),
        "aurc": st.aurc(-fitted.predicted, 1 - fitted.y),
        "flagged": float(flagged.mean()),
        "caught": float(flagged[bad].mean()),
        "ece_dice": st.calibration_error(fitted.predicted, fitted.y, bins=10),
    }
    if all("vvc" in row for row in fitted.rows):
        vvc = np.asarray([float(row["vvc"]) for row in fitted.rows])
        figures |= {"auroc_vvc": st.auroc(vvc, bad), "aurc_vvc": st.aurc(vvc, 1 - fitted.y)}
        figures["correlation_vvc"] = float(np.corrcoef(vvc, fitted.y)[0, 1])
    return figures


def review_thresholds(fitted: Fitted, seen: Array) -> dict[int, float]:
    """Predicted Dice below which the ATTENTION least certain of each organ's rows among `seen` lie, by organ number."""
    predicted, group = fitted.predicted[seen], fitted.group[seen]
    return {int(k): float(np.quantile(predicted[group == k], ATTENTION)) for k in np.unique(group)}


def crossed_flags(fitted: Fitted) -> Array:
    """Rows that the other folds' REVIEW thresholds mark."""
    out = np.zeros(len(fitted.y), bool)
    for number in np.unique(fitted.fold):
        held = fitted.fold == number
        reviews = review_thresholds(fitted, ~held)
        out[held] = [
            p < reviews.get(int(k), 1.0) for p, k in zip(fitted.predicted[held], fitted.group[held], strict=True)
        ]
    return out


def thresholds(fitted: Fitted) -> list[tuple[float, float]]:
    """(REVIEW, REJECT) per organ number, on the predicted Dice.

    REJECT: below UNUSABLE times the organ's median.
    """
    reviews = review_thresholds(fitted, np.ones(len(fitted.y), bool))
    out = []
    for k in range(int(fitted.group.max()) + 1):
        own = fitted.y[fitted.group == k]
        if own.size == 0:
            out.append((1.0, 0.0))
            continue
        review = reviews[k]
        out.append((round(review, 4), round(min(UNUSABLE * float(np.median(own)), review), 4)))
    return out


def calibrations(fitted: Fitted, organs: int) -> list[Calibration]:
    """The regression over all rows as the bundle carries it, with half-widths from the out-of-fold residuals."""
    model = st.fit_ridge(fitted.x, fitted.y, fitted.group, organs, *fitted.penalty)
    half = st.half_widths(np.abs(fitted.predicted - fitted.y), fitted.group, organs, COVERAGE)
    names = feature_names(fitted.rows)
    return [
        Calibration(
            intercept=round(float(model.intercepts[k]), 6),
            coefficients={n: round(float(c), 6) for n, c in zip(names, model.slopes[k], strict=True)},
            half_width=round(float(half[k]), 4),
        )
        for k in range(organs)
    ]


@dataclass(frozen=True)
class Result:
    """A calibrated bundle (not written yet), its cross-fitted evaluation, and the figures of the calibration."""

    bundle: Bundle
    evaluation: Evaluation
    figures: dict[str, float]
    member_means: dict[str, float]


def calibrate(segmenter: Segmenter, collected: Sequence[Collected], tolerance_mm: float = 3.0) -> Result:
    """Fit everything on the collected cases. Raises CalibrationError where they are too few."""
    folds = st.folds_of(len(collected), FOLDS)
    crossed, final, samples = crossed_bundles(segmenter, collected, folds)
    evaluation = Evaluation()
    alone = []
    for case, bundle in zip(collected, crossed, strict=True):
        said = described(segmenter, bundle, case)
        add_case(evaluation, case.case, said, bundle, tolerance_mm)
        alone.append(voter_scores(case, said.ensemble))
    evaluation.seconds.clear()  # stored members: nothing was inferred
    names = [organ.name for organ in final.classes]
    fold_of_case = {c.case.name: int(f) for c, f in zip(collected, folds, strict=True)}
    fitted = fit(evaluation.rows, names, fold_of_case)
    add_predictions(fitted)
    figures = quality(fitted) | {
        "missed": float(len(evaluation.rows) - len(fitted.rows)),
        "ece_voxels_raw": voxel_error(samples, [1.0] * len(samples)),
        "ece_voxels": voxel_error(samples, [bundle.temperature for bundle in crossed]),
        "temperature": final.temperature,
    }
    final = final.model_copy(update={"entropy_level": doubtful_level(evaluation.levels) or final.entropy_level})
    return Result(
        with_calibration(final, fitted, segmenter.bundle), evaluation, figures, voter_means(final, np.stack(alone))
    )


def add_predictions(fitted: Fitted) -> None:
    """Put the out-of-fold predictions into the rows, for the table."""
    for row, p, low, high in zip(fitted.rows, fitted.predicted, fitted.low, fitted.high, strict=True):
        row |= {"predicted": float(p), "low": float(low), "high": float(high)}


def with_calibration(bundle: Bundle, fitted: Fitted, old: Bundle) -> Bundle:
    """`bundle` with each class's regression, interval and thresholds, where enough validation cases have the organ.

    Of another organ nothing new is known: it keeps its members' weights and its factor of `old`, and has no
    calibration, since one of other weights and another temperature would not hold.
    """
    models, limits = calibrations(fitted, len(bundle.classes)), thresholds(fitted)
    classes = []
    for k, (organ, before) in enumerate(zip(bundle.classes, old.classes, strict=True)):
        if (fitted.group == k).sum() >= MINIMUM_OF_ORGAN:
            review, reject = limits[k]
            update = {"calibration": models[k], "review_below": review, "reject_below": reject}
            classes.append(organ.model_copy(update=update))
        else:
            blank = {"calibration": None, "review_below": None, "reject_below": None}
            classes.append(before.model_copy(update=blank))
    return bundle.model_copy(update={"classes": classes})


def voter_scores(case: Collected, ensemble: Ensemble) -> Array:
    """Dice `(members + 1, organs)` of every member's own votes and, last, of the ensemble, on the network's grid."""
    labels = [*ensemble.votes, ensemble.labels]
    scores = np.full((len(labels), case.member_dice.shape[1]), np.nan)
    for k in np.flatnonzero(np.isfinite(case.member_dice[0])):
        scores[:, k] = [dice(case.truth == k + 1, own == k + 1) for own in labels]
    return scores


def voter_means(bundle: Bundle, scores: Array) -> dict[str, float]:
    """Mean over organs of the mean over cases `(cases, members + 1, organs)`, for each member and the ensemble."""
    drawn = np.isfinite(scores).any(axis=(0, 1))
    means = np.nanmean(scores[:, :, drawn], axis=0).mean(axis=1)
    names = [*(member.name for member in bundle.members), "ensemble"]
    return {name: float(mean) for name, mean in zip(names, means, strict=True)}
