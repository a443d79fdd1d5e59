"""What the members' answers are multiplied with: ensemble weights, a factor per class, a temperature.

Each is fitted for every fold on the other folds' cases (to measure) and on all of them (to ship).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.segment.ensemble import Ensemble, combine, corrected
from rtseg_daemon.segment.pipeline import Segmentation, Segmenter, Stages
from rtseg_daemon.segment.uncertainty import tempered
from rtseg_training.bundle.collect import Collected
from rtseg_training.bundle.export import rank_table
from rtseg_training.measure import statistics as st

SCALES = np.round(np.geomspace(0.08, 1.5, 30), 4)
TEMPERATURES = np.round(np.geomspace(0.5, 8.0, 41), 3)


@dataclass(frozen=True)
class Voxels:
    """A sample of a case's voxels near organs: ensemble probabilities `(n, classes)`, true class, annotated classes."""

    p: Array
    truth: Array
    annotated: Array


def weighed(bundle: Bundle, weights: Array, scales: Array | None = None, temperature: float = 1.0) -> Bundle:
    """`bundle` with these member weights `(members, organs)`, class scales `(organs,)` and temperature."""
    factors = np.ones(len(bundle.classes)) if scales is None else scales
    classes = [
        c.model_copy(update={"weights": weights[:, k].tolist(), "scale": float(factors[k])})
        for k, c in enumerate(bundle.classes)
    ]
    return bundle.model_copy(update={"classes": classes, "temperature": temperature})


def stacked_scores(collected: Sequence[Collected]) -> Array:
    """`(cases, members, organs)`."""
    return np.stack([c.member_dice for c in collected])


def fold_weights(collected: Sequence[Collected], folds: Array, table: Sequence[float]) -> list[Array]:
    """For each case the member weights that the other folds give."""
    scores = stacked_scores(collected)
    return [st.rank_weights(scores[folds != fold], table) for fold in folds]


def answer(segmenter: Segmenter, case: Collected) -> Ensemble:
    """The ensemble's answer from the stored members."""
    return combine(corrected(case.members(), segmenter.scales), segmenter.weights)


def scale_scores(case: Collected, ensemble: Ensemble) -> Array:
    """Dice `(organs, len(SCALES))` of each organ if its probability alone were multiplied, or NaN where not drawn."""
    p, labels = ensemble.probabilities, case.truth.ravel()
    flat = p.reshape(len(p), -1)
    out = np.full((len(p) - 1, len(SCALES)), np.nan)
    for k in range(1, len(p)):
        if not np.isfinite(case.member_dice[0, k - 1]) or not (labels == k).any():
            continue
        # elsewhere no factor makes it the largest of so many classes, since the largest other is above their mean
        near = np.flatnonzero((labels == k) | (flat[k] > 1 / (2 * SCALES[-1] * len(p))))
        others = np.delete(flat[:, near], k, axis=0).max(axis=0)
        ratio, true = flat[k, near] / np.maximum(others, 1e-7), labels[near] == k
        for index, scale in enumerate(SCALES):
            out[k - 1, index] = dice(true, ratio * scale > 1.0)
    return out


def best_scales(scores: Array) -> Array:
    """Per organ the factor with the best mean Dice in `scores` `(cases, organs, scales)`, or 1 if unknown."""
    out = np.ones(scores.shape[1])
    for k in range(scores.shape[1]):
        held = scores[np.isfinite(scores[:, k]).all(axis=1), k]
        if len(held) >= 3:
            out[k] = SCALES[int(held.mean(axis=0).argmax())]
    return out


def sample_voxels(case: Collected, ensemble: Ensemble, count: int = 4000) -> Voxels:
    """Voxels where the truth or any member sees an organ, at most `count` of them."""
    truth = case.truth
    near = np.flatnonzero((truth > 0) | (ensemble.votes > 0).any(axis=0))
    rng = np.random.default_rng(len(near))
    chosen = rng.choice(near, min(count, near.size), replace=False)
    return Voxels(ensemble.probabilities.reshape(len(case.annotated), -1)[:, chosen].T.astype(np.float64),
                  truth.ravel()[chosen], case.annotated)  # fmt: skip


def seen(sample: Voxels, temperature: float) -> Array:
    """Probabilities at a temperature, organs that nobody drew counted as background (as the truth does)."""
    p = np.array(tempered(sample.p.T, temperature).T)
    p[:, 0] += p[:, ~sample.annotated].sum(axis=1)
    p[:, ~sample.annotated] = 0.0
    return p


def log_likelihood(sample: Voxels, temperature: float) -> float:
    """Mean log-probability of the true class."""
    p = seen(sample, temperature)
    return float(np.log(np.maximum(p[np.arange(len(p)), sample.truth], 1e-6)).mean())


def best_temperature(samples: Sequence[Voxels]) -> float:
    """The temperature under which the truth is likeliest (Guo et al., ICML 2017)."""
    held = [s for s in samples if len(s.truth)]
    totals = [sum(log_likelihood(s, float(t)) for s in held) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmax(totals))])


def voxel_error(samples: Sequence[Voxels], temperatures: Sequence[float]) -> float:
    """ECE of the winning class over all sampled voxels."""
    confidence, correct = [], []
    for sample, t in zip(samples, temperatures, strict=True):
        p = seen(sample, t)
        confidence.append(p.max(axis=1))
        correct.append(p.argmax(axis=1) == sample.truth)
    return st.calibration_error(np.concatenate(confidence), np.concatenate(correct).astype(float))


def variant(segmenter: Segmenter, bundle: Bundle) -> Segmenter:
    """The same members, weighed otherwise."""
    return Segmenter(bundle, segmenter.engine)


def described(segmenter: Segmenter, bundle: Bundle, case: Collected) -> Segmentation:
    """What the daemon would say of the case with this bundle."""
    other = variant(segmenter, bundle)
    return other.describe(case.grid, case.network, answer(other, case), Stages(lambda _: None))


def crossed_bundles(
    segmenter: Segmenter, collected: Sequence[Collected], folds: Array
) -> tuple[list[Bundle], Bundle, list[Voxels]]:
    """For each case the bundle that the other folds give, the bundle that all give, and each case's voxel sample."""
    bundle, numbers = segmenter.bundle, sorted(set(folds.tolist()))
    table = rank_table(bundle.family)
    weights = fold_weights(collected, folds, table)
    tried = np.stack(
        [
            scale_scores(c, answer(variant(segmenter, weighed(bundle, w)), c))
            for c, w in zip(collected, weights, strict=True)
        ]
    )
    scales = {f: best_scales(tried[folds != f]) for f in numbers}
    samples = [
        sample_voxels(c, answer(variant(segmenter, weighed(bundle, w, scales[f])), c))
        for c, w, f in zip(collected, weights, folds.tolist(), strict=True)
    ]
    warm = {f: best_temperature([s for s, g in zip(samples, folds, strict=True) if g != f]) for f in numbers}
    crossed = [weighed(bundle, w, scales[f], warm[f]) for w, f in zip(weights, folds.tolist(), strict=True)]
    final = st.rank_weights(stacked_scores(collected), table)
    return crossed, weighed(bundle, final, best_scales(tried), best_temperature(samples)), samples
