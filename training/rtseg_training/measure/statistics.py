"""The numbers behind a calibration: ranking, regression, conformal intervals, and how well a flag tells bad from good.

All of it is plain numpy on vectors. No function here knows what an organ is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.volume import Array


def folds_of(count: int, folds: int, seed: int = 0) -> Array:
    """Fold number of each of `count` cases, shuffled, of sizes that differ by one at most."""
    return np.random.default_rng(seed).permutation(np.arange(count) % max(1, min(folds, count)))


def folds_of_groups(groups: Sequence[str], folds: int, seed: int = 0) -> Array:
    """Fold number of each case by the group that it belongs to: those of one group (a patient) are in one fold."""
    known = list(dict.fromkeys(groups))
    number = dict(zip(known, folds_of(len(known), folds, seed).tolist(), strict=True))
    return np.asarray([number[group] for group in groups])


def rank_weights(scores: Array, table: Sequence[float]) -> Array:
    """Weights `(members, organs)` by the members' mean score over the cases `(cases, members, organs)`, NaN left out.

    The best member of an organ gets table[0], the next table[1] and so on. An organ without a case weighs all alike.
    """
    members, organs = scores.shape[1:]
    out = np.ones((members, organs))
    for k in range(organs):
        held = scores[np.isfinite(scores[:, :, k]).all(axis=1), :, k]
        if held.size:
            order = np.argsort(-held.mean(axis=0), kind="stable")
            out[order, k] = [table[min(i, len(table) - 1)] for i in range(members)]
    return out


@dataclass(frozen=True)
class Ridge:
    """Dice of an organ = intercepts[organ] + slopes[organ] . features."""

    intercepts: Array
    slopes: Array

    def predict(self, x: Array, group: Array) -> Array:
        """Predictions cut to [0, 1] for features `(n, p)` and organ numbers `(n,)`."""
        return np.asarray(np.clip(self.intercepts[group] + (self.slopes[group] * x).sum(axis=1), 0.0, 1.0))


def fit_ridge(x: Array, y: Array, group: Array, groups: int, common: float, own: float) -> Ridge:
    """Robust ridge regression with slopes that all organs share and small deviations of each organ's own.

    Some cases are bad because their truth is wrong (contours of another scan, another organ's name): Huber's weights
    (k = 1.345, seven rounds) keep them from bending the line for all others.
    """
    weights = np.ones(len(y))
    model = weighted_ridge(x, y, group, groups, (common, own), weights)
    for _ in range(7):
        residuals = np.abs(y - model.predict(x, group))
        spread = 1.4826 * float(np.median(residuals)) + 1e-6
        weights = np.minimum(1.0, 1.345 * spread / np.maximum(residuals, 1e-9))
        model = weighted_ridge(x, y, group, groups, (common, own), weights)
    return model


def weighted_ridge(
    x: Array, y: Array, group: Array, groups: int, penalties: tuple[float, float], weights: Array
) -> Ridge:
    """Least squares with case weights.

    Penalties are on standardised features: the first on the shared slopes, the second on the organs' deviations.
    Intercepts are drawn to the overall mean by one case's weight, so that an organ with few cases does not follow them
    blindly.
    """
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    z, one_hot = (x - mean) / scale, np.eye(groups)[group]
    p = x.shape[1]
    design = np.hstack([one_hot, z, (one_hot[:, :, None] * z[:, None, :]).reshape(len(z), -1)])
    penalty = np.concatenate([np.full(groups, 1.0), np.full(p, penalties[0]), np.full(groups * p, penalties[1])])
    centre = float(np.average(y, weights=weights))
    normal = design.T * weights
    found = np.linalg.solve(normal @ design + np.diag(penalty), normal @ (y - centre))
    slopes = (found[groups : groups + p] + found[groups + p :].reshape(groups, p)) / scale
    return Ridge(centre + found[:groups] - slopes @ mean, slopes)


def conformal_quantile(residuals: Array, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest residual: an interval of that half-width covers a new case with at least
    that probability (split conformal prediction, Lei et al., JASA 113:1094, 2018). The largest if n is too small."""
    ordered = np.sort(residuals)
    return float(ordered[min(math.ceil((len(ordered) + 1) * coverage), len(ordered)) - 1])


def organ_scales(residuals: Array, group: Array, groups: int, prior: float = 10.0) -> Array:
    """Typical absolute residual of each organ, drawn to the overall one by the weight of `prior` cases."""
    overall = float(residuals.mean())
    out = np.empty(groups)
    for k in range(groups):
        own = residuals[group == k]
        out[k] = (own.sum() + prior * overall) / (len(own) + prior)
    return np.maximum(out, 1e-3)


def half_widths(residuals: Array, group: Array, groups: int, coverage: float) -> Array:
    """Half-width of the interval per organ: one conformal quantile of the residuals in units of the organ's scale."""
    scales = organ_scales(residuals, group, groups)
    return scales * conformal_quantile(residuals / scales[group], coverage)


def auroc(score: Array, bad: Array) -> float:
    """Probability that a bad item scores higher than a good one, ties half (Mann-Whitney). NaN without both."""
    if not bad.any() or bad.all():
        return float("nan")
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    for value in np.unique(score):
        same = score == value
        ranks[same] = ranks[same].mean()
    n = int(bad.sum())
    return float((ranks[bad].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def aurc(score: Array, risk: Array) -> float:
    """Area under the risk-coverage curve: mean over k of the mean risk of the k least suspicious items."""
    ordered = risk[np.argsort(score, kind="stable")]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())


def calibration_error(confidence: Array, correct: Array, bins: int = 15) -> float:
    """ECE: mean over equal bins of |share correct - mean confidence|, weighted by the bins' sizes."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    held = count > 0
    right = np.bincount(place, weights=correct, minlength=bins)[held]
    stated = np.bincount(place, weights=confidence, minlength=bins)[held]
    return float(np.abs(right - stated).sum() / count.sum())


def bootstrap_interval(values: Array, patient: Array, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of `values` when patients (not organs) are drawn again with replacement."""
    names = np.unique(patient)
    sums = np.asarray([values[patient == name].sum() for name in names])
    counts = np.asarray([(patient == name).sum() for name in names])
    chosen = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
