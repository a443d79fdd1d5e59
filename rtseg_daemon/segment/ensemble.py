"""Members' probabilities become one answer by running sums: no member's map outlives the next."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.volume import Array


@dataclass(frozen=True)
class Ensemble:
    """What the members say together, on the network's grid.

    Args:
        probabilities: `(classes, z, y, x)` float32, weighted class by class and renormalised to sum to 1.
        labels: `(z, y, x)` uint8, their argmax.
        votes: `(members, z, y, x)` uint8, each member's own argmax.
        member_entropy: `(z, y, x)` float32, mean over members of the entropy (nats) of their own probabilities.
    """

    probabilities: Array
    labels: Array
    votes: Array
    member_entropy: Array


def class_weights(organs: Iterable[list[float]], members: int) -> Array:
    """`(members, classes)` weights that sum to 1 for every class; the background counts members equally."""
    columns = [[1.0] * members, *organs]
    weights = np.asarray(columns, np.float32).T
    return np.asarray(weights / weights.sum(axis=0))


def corrected(members: Iterable[Array], scales: Array) -> Iterator[Array]:
    """Each member's probabilities with class c multiplied by `scales[c]` and renormalised, in place.

    A cross entropy that weighs class c by w_c teaches p'_c in proportion to w_c p_c: rare organs come out too large.
    The scales, found by calibration, undo it.
    """
    changed = [c for c in range(len(scales)) if scales[c] != 1.0]
    for p in members:
        for c in changed:
            p[c] *= scales[c]
        if changed:
            p /= p.sum(axis=0)
        yield p


def combine(members: Iterable[Array], weights: Array) -> Ensemble:
    """Weighted mean per class, renormalised (METHODS: afterwards the classes no longer sum to 1), votes and entropy."""
    total: Array | None = None
    votes, entropy = [], None
    for index, p in enumerate(members):
        if total is None:
            total, entropy = np.zeros_like(p), np.zeros(p.shape[1:], np.float32)
        for c in range(p.shape[0]):
            total[c] += weights[index, c] * p[c]
        votes.append(winner(p))
        entropy += entropy_of(p)
    if total is None or entropy is None:
        raise ValueError("an ensemble needs at least one member")
    total /= total.sum(axis=0)
    return Ensemble(total, winner(total), np.stack(votes), entropy / len(votes))


def winner(p: Array) -> Array:
    """The first class of the largest probability, uint8 over the first axis: argmax, by steps that vectorise."""
    best, label = p.max(axis=0), np.zeros(p.shape[1:], np.uint8)
    later = np.ones(p.shape[1:], bool)
    for c in range(p.shape[0] - 1):
        later &= p[c] != best
        label += later
    return label


def entropy_of(p: Array) -> Array:
    """H = -sum_c p_c ln p_c in nats over the first axis, float32."""
    out = np.zeros(p.shape[1:], np.float32)
    for c in range(p.shape[0]):
        out -= p[c] * np.log(np.maximum(p[c], 1e-7))
    return out
