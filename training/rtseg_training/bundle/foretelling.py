"""What figures foretell of an organ's Dice: fitted on organs whose truth is known, and measured out of fold.

Rows come from unaltered cases and from copies with a fault (`row["fault"]`). Copies teach what failures look like.
How far predictions err, and how many organs are flagged, is taken from the unaltered cases alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.calibration import Calibration, Spread
from rtseg_daemon.segment.prediction import COVERAGE, FEATURES, interval, probability_below, reach_of
from rtseg_training.errors import CalibrationError
from rtseg_training.measure import statistics as st
from rtseg_training.measure.evaluate import TableRow
from rtseg_training.measure.regression import Linear, fit_scale, fit_share, group_levels

ATTENTION = 0.08
"""Share of the organs found in unaltered cases that a doubt may mark. A flag on everything is read by nobody. Other
reasons (volume, place, HU) mark some more: 10 to 15 % together."""
PENALTIES = ((0.3, 3.0), (1.0, 10.0), (3.0, 30.0), (3.0, 300.0), (10.0, 100.0))
SCALE_PENALTY = (300.0, 3000.0)
COPY_WEIGHT = 0.5
OWN_RESIDUALS = 15.0
"""Other organs' errors count together as so many of an organ's own."""
LEVELS = 40
LEAST_REACH = 1e-3
"""Scales of the error. An interval that does not go to one side at all is no measure of errors to that side."""
MINIMUM_CASES = 8
MINIMUM_OF_ORGAN = 5
WRONG_TRUTH = 2.0
"""A true volume this many times the organ's median, or less than the same share of it, is of a wrong contour."""
CERTAINTY = 0.9
"""Probability of an unacceptable contour from which on its organ is REJECT."""
PAIRWISE = "pairwise_dice"
BESIDE = "beside"
"""A column that says whether a row is of other members than the bundle's: they may be better or worse all in all."""


@dataclass(frozen=True)
class Known:
    """Rows of organs that were found, as vectors.

    Args:
        names: of the figures, the columns of `x` `(n, p)`.
        y, group, patient, fold, weight: Dice, organ number, patient, its fold and the weight in the fit `(n,)`.
        plain: whether the case is unaltered and its truth believed.
        own: whether besides the row is of the bundle itself: what is measured, is measured on these.
        doubted: whether the row is the bundle's own of an unaltered case, and its truth is not believed. Nothing is
            learned of it (weight 0), but a flag on it is read like every other.
    """

    rows: list[TableRow]
    names: list[str]
    x: Array
    y: Array
    group: Array
    patient: Array
    fold: Array
    weight: Array
    plain: Array
    own: Array
    doubted: Array


@dataclass(frozen=True)
class Fitted:
    """The rows with what the other folds foretell of each: Dice, scale of the error, interval, probability."""

    known: Known
    penalty: tuple[float, float]
    predicted: Array
    scale: Array
    low: Array
    high: Array
    risk: Array
    review_above: float


def patient_of(row: Mapping[str, float | str]) -> str:
    """The case that a row is of. Copies of it are named after it, with a colon between."""
    return str(row["case"]).split(":")[0]


def wrong_truth(rows: Sequence[TableRow]) -> list[TableRow]:
    """Rows of unaltered cases whose true volume is beyond WRONG_TRUTH times the organ's median, or its inverse."""
    plain = [row for row in rows if not row.get("fault")]
    medians = {
        organ: float(np.median([float(row["true_ml"]) for row in plain if row["organ"] == organ]))
        for organ in {str(row["organ"]) for row in plain}
    }
    out = []
    for row in plain:
        ratio = float(row["true_ml"]) / medians[str(row["organ"])]
        if not 1 / WRONG_TRUTH <= ratio <= WRONG_TRUTH:
            out.append(row)
    return out


def known_rows(rows: Sequence[TableRow], organs: Sequence[str], fold_of_case: Mapping[str, int]) -> Known:
    """The rows that teach. Raises CalibrationError where there are too few cases.

    A patient whose contour of an organ is wrong teaches nothing of that organ, unaltered or not.
    """
    wrong = {(patient_of(row), row["organ"]) for row in wrong_truth(rows)}

    def is_doubted(row: TableRow) -> bool:
        return (patient_of(row), row["organ"]) in wrong

    usable = [
        row
        for row in rows
        if float(row["volume_ml"]) > 0 and not (is_doubted(row) and (row.get("fault") or row.get(BESIDE)))
    ]
    names = [name for name in FEATURES if usable and all(name in row for row in usable)]
    if len({patient_of(row) for row in usable if not row.get("fault")}) < MINIMUM_CASES or not names:
        raise CalibrationError(
            f"a calibration needs at least {MINIMUM_CASES} validation cases with organs found in them"
        )
    doubted = np.asarray([is_doubted(row) for row in usable])
    plain = np.asarray([not row.get("fault") for row in usable]) & ~doubted
    others = np.asarray([bool(row.get(BESIDE)) for row in usable])
    columns = [[float(row[name]) for name in names] for row in usable]
    if others.any():
        names, columns = [*names, BESIDE], [[*own, float(o)] for own, o in zip(columns, others, strict=True)]
    patient = np.asarray([patient_of(row) for row in usable])
    return Known(
        rows=usable,
        names=names,
        x=np.asarray(columns),
        y=np.asarray([float(row["dice"]) for row in usable]),
        group=np.asarray([organs.index(str(row["organ"])) for row in usable]),
        patient=patient,
        fold=np.asarray([fold_of_case[name] for name in patient]),
        weight=np.where(doubted, 0.0, np.where(plain, 1.0, COPY_WEIGHT)),
        plain=plain,
        own=plain & ~others,
        doubted=doubted,
    )


def line_of(known: Known, chosen: Array, groups: int, penalty: tuple[float, float]) -> Linear:
    """The regression on the chosen rows."""
    return fit_share(known.x[chosen], known.y[chosen], known.group[chosen], known.weight[chosen], groups, penalty)


def out_of_fold(known: Known, groups: int, penalty: tuple[float, float]) -> Array:
    """Each row's Dice as the rows of the other folds foretell it."""
    out = np.empty(len(known.y))
    for number in np.unique(known.fold):
        held = known.fold == number
        out[held] = line_of(known, ~held, groups, penalty).share(known.x[held], known.group[held])
    return out


def scale_line(known: Known, errors: Array, chosen: Array, groups: int) -> Linear:
    """How the size of the error follows from the figures, on the chosen rows."""
    x, group, weight = known.x[chosen], known.group[chosen], known.weight[chosen]
    return fit_scale(x, errors[chosen], group, weight, groups, SCALE_PENALTY)


def sizes_of(line: Linear, known: Known, chosen: Array) -> Array:
    """The size of each chosen row's error by such a line."""
    return np.asarray(np.exp(np.clip(line.raw(known.x[chosen], known.group[chosen]), -5, 0)))


def spreads_of(known: Known, errors: Array, chosen: Array, groups: int) -> list[Spread]:
    """For each organ how far predictions err, from the errors of the chosen rows.

    Each error is set against the size that the other folds of the chosen rows expect of it: a line that has seen the
    error itself would call it small.
    """
    line, plain = scale_line(known, errors, chosen, groups), chosen & known.plain
    expected = np.ones(len(errors))
    for number in np.unique(known.fold[chosen]):
        held = chosen & (known.fold == number)
        rest = chosen & ~held
        expected[held] = sizes_of(scale_line(known, errors, rest if rest.any() else held, groups), known, held)
    levels = group_levels(errors[plain] / expected[plain], known.group[plain], groups, LEVELS, OWN_RESIDUALS)
    return [
        Spread(
            intercept=round(float(line.intercepts[k]), 5),
            coefficients=kept(known.names, line.slopes[k]),
            residuals=[round(float(value), 4) for value in levels[k]],
        )
        for k in range(groups)
    ]


def widened(spreads: Sequence[Spread], known: Known, predicted: Array, chosen: Array) -> list[Spread]:
    """The spreads made wider or narrower by one factor, so that their intervals hold COVERAGE of the chosen plain
    rows.

    As in split conformal prediction (Lei et al., J. Am. Stat. Assoc. 113:1094, 2018) the factor is a quantile of how
    far the truth lies out, counted in the reach of the interval to that side.
    """
    plain = chosen & known.plain
    error = (known.y - predicted)[plain] / scales_by(spreads, known, plain)
    low, high = np.asarray([reach_of(spread) for spread in spreads])[known.group[plain]].T
    out = np.where(error > 0, error / np.maximum(high, LEAST_REACH), error / np.minimum(low, -LEAST_REACH))
    factor = float(np.quantile(out, COVERAGE))
    return [
        spread.model_copy(update={"residuals": [round(value * factor, 4) for value in spread.residuals]})
        for spread in spreads
    ]


def scales_by(spreads: Sequence[Spread], known: Known, chosen: Array) -> Array:
    """The scale of each chosen row's error."""
    slopes = np.asarray([[spread.coefficients.get(name, 0.0) for name in known.names] for spread in spreads])
    line = Linear(np.asarray([spread.intercept for spread in spreads]), slopes)
    return np.asarray(np.exp(np.clip(line.raw(known.x[chosen], known.group[chosen]), -5, 0)))


def kept(names: Sequence[str], slopes: Array) -> dict[str, float]:
    """The coefficients that a bundle carries: for its own members nothing is beside."""
    return {name: round(float(slope), 6) for name, slope in zip(names, slopes, strict=True) if name != BESIDE}


def fit(
    rows: Sequence[TableRow], organs: Sequence[str], fold_of_case: Mapping[str, int], acceptable: Sequence[float]
) -> Fitted:
    """Cross-fitted prediction. Raises CalibrationError where there are too few cases.

    Args:
        acceptable: Dice below which a contour is not acceptable, by organ number.
    """
    known, groups = known_rows(rows, organs, fold_of_case), len(organs)
    tried = {p: out_of_fold(known, groups, p) for p in PENALTIES}
    penalty = min(tried, key=lambda p: float(np.average(np.abs(tried[p] - known.y), weights=known.weight)))
    predicted = tried[penalty]
    scale, low, high, risk = (np.empty(len(known.y)) for _ in range(4))
    for number in np.unique(known.fold):
        held = known.fold == number
        spreads = widened(spreads_of(known, known.y - predicted, ~held, groups), known, predicted, ~held)
        scale[held] = scales_by(spreads, known, held)
        for i in np.flatnonzero(held):
            spread = spreads[known.group[i]]
            low[i], high[i] = interval(float(predicted[i]), float(scale[i]), spread)
            risk[i] = probability_below(acceptable[known.group[i]], float(predicted[i]), float(scale[i]), spread)
    review = float(np.quantile(risk[known.own | known.doubted], 1 - ATTENTION))
    return Fitted(known, penalty, predicted, scale, low, high, risk, float(np.clip(review, 0.01, CERTAINTY)))


def calibrations(fitted: Fitted, groups: int) -> list[Calibration]:
    """The regression over all rows as the bundle carries it, with the spread of the out-of-fold errors."""
    known = fitted.known
    every = np.ones(len(known.y), bool)
    line = line_of(known, every, groups, fitted.penalty)
    spreads = spreads_of(known, known.y - fitted.predicted, every, groups)
    spreads = widened(spreads, known, fitted.predicted, every)
    return [
        Calibration(
            intercept=round(float(line.intercepts[k]), 6),
            coefficients=kept(known.names, line.slopes[k]),
            link="logit",
            spread=spreads[k],
        )
        for k in range(groups)
    ]


def bad_organs(fitted: Fitted) -> Array:
    """The bundle's own unaltered rows whose Dice lies below their organ's 10th percentile on validation."""
    known, out = fitted.known, np.zeros(len(fitted.known.y), bool)
    for k in np.unique(known.group[known.own]):
        own = (known.group == k) & known.own
        out[own] = known.y[own] < np.percentile(known.y[own], 10)
    return out


def shortfall(fitted: Fitted) -> Array:
    """How far a row's prediction lies below its organ's 10th percentile of Dice: suspicion that organs can share."""
    known, out = fitted.known, np.empty(len(fitted.known.y))
    for k in np.unique(known.group):
        own = known.group == k
        seen = own & known.own
        out[own] = (np.percentile(known.y[seen], 10) if seen.any() else 0.0) - fitted.predicted[own]
    return out


def quality(fitted: Fitted, organs: Sequence[str], acceptable: Sequence[float]) -> dict[str, float]:
    """How well the predictions hold on the unaltered rows, all out of fold, and simple scores beside them."""
    known, plain = fitted.known, fitted.known.own
    y, predicted, bad = known.y[plain], fitted.predicted[plain], bad_organs(fitted)[plain]
    covered = ((y >= fitted.low[plain]) & (y <= fitted.high[plain])).astype(float)
    low, high = st.bootstrap_interval(covered, known.patient[plain])
    limits = np.asarray([acceptable[k] for k in known.group[plain]])
    flagged, failed = fitted.risk[plain] >= fitted.review_above, y < limits
    figures = {
        "organs": float(plain.sum()),
        "copies": float((~known.plain & ~known.doubted).sum()),
        "organs_beside": float((known.plain & ~known.own).sum()),
        "bad_organs": float(bad.sum()),
        "unacceptable_organs": float(failed.sum()),
        "mean_absolute_error": float(np.abs(predicted - y).mean()),
        "correlation": float(np.corrcoef(predicted, y)[0, 1]),
        "coverage": float(covered.mean()),
        "coverage_low": low,
        "coverage_high": high,
        "interval_width": float((fitted.high - fitted.low)[plain].mean()),
        "auroc": st.auroc(shortfall(fitted)[plain], bad),
        "auroc_half": st.auroc(-predicted, y < 0.5),
        "aurc": st.aurc(-predicted, 1 - y),
        "risk_at_85": risk_at(predicted, y),
        "flagged": float(flagged.mean()),
        "caught": float(flagged[failed].mean()) if failed.any() else float("nan"),
        "ece_dice": st.calibration_error(predicted, y, bins=10),
    }
    for k in np.unique(known.group[plain]):
        figures[f"coverage {organs[k]}"] = float(covered[known.group[plain] == k].mean())
    if PAIRWISE in known.names:
        pairwise = known.x[plain][:, known.names.index(PAIRWISE)]
        figures |= gains(y, predicted, pairwise, shortfall(fitted)[plain], bad, known.patient[plain])
    for name, sign in (("vvc", 1.0), (PAIRWISE, -1.0)):
        if name in known.names:
            score = sign * known.x[plain][:, known.names.index(name)]
            figures |= {
                f"auroc_{name}": st.auroc(score, bad),
                f"auroc_half_{name}": st.auroc(score, y < 0.5),
                f"aurc_{name}": st.aurc(score, 1 - y),
                f"risk_at_85_{name}": risk_at(-score, y),
                f"correlation_{name}": float(np.corrcoef(-score, y)[0, 1]),
            }
    return figures


def gains(y: Array, predicted: Array, pairwise: Array, short: Array, bad: Array, patient: Array) -> dict[str, float]:
    """What the prediction is better by than the members' pairwise Dice alone, the best of the simple scores.

    Each with a 95 % interval, patients drawn again. `short` suspects one organ beside another (`shortfall`), and `bad`
    says which organs are so for their kind.
    """

    def auroc_half(at: Array) -> float:
        return st.auroc(-predicted[at], y[at] < 0.5) - st.auroc(-pairwise[at], y[at] < 0.5)

    def auroc(at: Array) -> float:
        return st.auroc(short[at], bad[at]) - st.auroc(-pairwise[at], bad[at])

    def aurc(at: Array) -> float:
        return st.aurc(-pairwise[at], 1 - y[at]) - st.aurc(-predicted[at], 1 - y[at])

    def risk_at_85(at: Array) -> float:
        return risk_at(pairwise[at], y[at]) - risk_at(predicted[at], y[at])

    found: dict[str, float] = {}
    for figure in (auroc_half, auroc, aurc, risk_at_85):
        low, high = st.bootstrap_of(figure, patient)
        name = f"gain_{figure.__name__}"
        found |= {name: figure(np.arange(len(y))), f"{name}_low": low, f"{name}_high": high}
    return found


def risk_at(confidence: Array, y: Array, share: float = 0.85) -> float:
    """Mean of 1 - Dice over the `share` of organs with the most confidence."""
    kept = np.argsort(-confidence, kind="stable")[: max(1, round(share * len(y)))]
    return float((1 - y[kept]).mean())
