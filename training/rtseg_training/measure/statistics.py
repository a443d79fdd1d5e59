"""The numbers behind a calibration: folds, ranks, and how well a score tells bad from good.

All of it is plain numpy on vectors. No function here knows what an organ is.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata

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


def auroc(score: Array, bad: Array) -> float:
    """Probability that a bad item scores higher than a good one, ties half (Mann-Whitney). NaN without both."""
    if not bad.any() or bad.all():
        return float("nan")
    n = int(bad.sum())
    return float((rankdata(score)[bad].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


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


def bootstrap_of(
    figure: Callable[[Array], float], patient: Array, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a figure of items when patients are drawn again with replacement.

    `figure` gets the indices of the items drawn. Draws for which it is not defined (NaN) are left out.
    """
    items = [np.flatnonzero(patient == name) for name in np.unique(patient)]
    chosen = np.random.default_rng(seed).integers(0, len(items), (draws, len(items)))
    found = np.asarray([figure(np.concatenate([items[k] for k in one])) for one in chosen])
    held = found[np.isfinite(found)]
    if not held.size:
        return float("nan"), float("nan")
    low, high = np.percentile(held, [2.5, 97.5])
    return float(low), float(high)
