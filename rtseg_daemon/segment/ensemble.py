"""Members' probabilities become one answer by running sums: no member's map outlives the next.

Arrays are numpy's, or tensors on the card where the members ran: see `anatomy/arrays.py`.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.arrays import Values, at_least, beside, class_groups, module_of
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.errors import EngineError


@dataclass(frozen=True)
class Ensemble:
    """What the members say together, on the network's grid.

    Args:
        probabilities: `(classes, z, y, x)` float32, weighted class by class and renormalised to sum to 1.
        labels: `(z, y, x)` uint8, their argmax.
        votes: `(members, z, y, x)` uint8, each member's own argmax.
        member_entropy: `(z, y, x)` float32, mean over members of the entropy (nats) of their own probabilities.
    """

    probabilities: Values
    labels: Values
    votes: Values
    member_entropy: Values


def class_weights(organs: Iterable[list[float]], members: int) -> Array:
    """`(members, classes)` weights that sum to 1 for every class. The background counts members equally."""
    columns = [[1.0] * members, *organs]
    weights = np.asarray(columns, np.float32).T
    return np.asarray(weights / weights.sum(axis=0))


def corrected(members: Iterable[Values], scales: Array) -> Iterator[Values]:
    """Each member's probabilities with class c multiplied by `scales[c]` and renormalised, in place.

    A cross entropy that weighs class c by w_c teaches p'_c in proportion to w_c p_c: rare organs come out too large.
    The scales, found by calibration, undo it.
    """
    changed = bool((scales != 1.0).any())
    for p in members:
        if changed:
            p *= beside(scales, p)[:, None, None, None]
            p /= module_of(p).sum(p, 0)
        yield p


def combine(members: Iterable[Values], weights: Array) -> Ensemble:
    """Weighted mean per class, renormalised (METHODS: afterwards the classes no longer sum to 1), votes and entropy.

    Raises EngineError where an answer is not a number.
    """
    total: Values = None
    votes, entropy = [], None
    for index, p in enumerate(members):
        if total is None:
            total, entropy = module_of(p).zeros_like(p), module_of(p).zeros_like(p[0])
        shares = beside(weights[index], p)[:, None, None, None]
        for summed, part, share in zip(class_groups(total), class_groups(p), class_groups(shares), strict=True):
            summed += share * part
        votes.append(winner(p))
        entropy += entropy_of(p)
    if total is None or entropy is None:
        raise ValueError("an ensemble needs at least one member")
    xp = module_of(total)
    if not math.isfinite(float(xp.sum(entropy))):
        raise EngineError(
            "the members' probabilities are not all numbers; nothing is contoured. Set compute.precision: fp32 "
            "and retry the job; if it fails again, install the bundle anew"
        )
    total /= xp.sum(total, 0)
    return Ensemble(total, winner(total), xp.stack(votes), entropy / len(votes))


def winner(p: Values) -> Values:
    """The first class of the largest probability, uint8 over the first axis: argmax, by steps that vectorise."""
    xp = module_of(p)
    best, label = xp.amax(p, 0), xp.zeros_like(p[0], dtype=xp.uint8)
    later = xp.ones_like(label, dtype=xp.bool)
    for c in range(p.shape[0] - 1):
        later &= p[c] != best
        label += later
    return label


def entropy_of(p: Values) -> Values:
    """H = -sum_c p_c ln p_c in nats over the first axis, float32."""
    xp = module_of(p)
    out = xp.zeros_like(p[0])
    for part in class_groups(p):
        out -= xp.sum(part * xp.log(at_least(part, 1e-7)), 0)
    return out
