"""How sure the ensemble is: per voxel by the members' votes, per organ by figures a calibration turns into Dice."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from rtseg_daemon.anatomy.organ import Uncertainty
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.bundles import Calibration
from rtseg_daemon.segment.ensemble import Ensemble, entropy_of

FEATURES = ("vvc", "entropy", "pairwise_dice", "soft_entropy", "mutual_information", "expected_dice", "log_volume")
"""Names a calibration may use: those of `Uncertainty`, and the natural logarithm of the volume in ml."""


def vote_entropy(votes: Array, classes: int) -> Array:
    """Voxel entropy (nats) of the members' label votes, H = -sum p ln p (seed 001); votes `(members, z, y, x)`.

    Six members give 0, 0.4506 (5+1), 0.6365 (4+2), 0.6931 (3+3), 0.8676 (4+1+1) and so on up to ln 6.
    """
    members = votes.shape[0]
    table = np.asarray([0.0] + [-(n / members) * math.log(n / members) for n in range(1, members + 1)], np.float32)
    out = np.zeros(votes.shape[1:], np.float32)
    for c in range(classes):
        out += table[(votes == c).sum(axis=0, dtype=np.uint8)]
    return out


def volume_variation(volumes: Sequence[float]) -> float | None:
    """VVC = sigma_V / mu_V over the members' volumes (seed 002, eq. 7); None where no member finds the organ."""
    mean = float(np.mean(volumes))
    return float(np.std(volumes)) / mean if mean > 0 else None


def pairwise_dice(votes: Array, organ: int) -> float | None:
    """Mean Dice over all pairs of members' masks of class `organ`; pairs in which both are empty do not count."""
    masks = [votes[m] == organ for m in range(votes.shape[0])]
    sizes = [int(m.sum()) for m in masks]
    scores = [
        2.0 * int((masks[a] & masks[b]).sum()) / (sizes[a] + sizes[b])
        for a, b in itertools.combinations(range(len(masks)), 2)
        if sizes[a] + sizes[b] > 0
    ]
    return float(np.mean(scores)) if scores else None


def tempered(p: Array, temperature: float) -> Array:
    """Probabilities at another temperature: p^(1/T), renormalised over the first axis."""
    if temperature == 1.0:
        return p
    powered = np.power(np.maximum(p, 1e-7), 1.0 / temperature)
    return np.asarray(powered / powered.sum(axis=0))


def expected_dice(p: Array, mask: Array) -> float:
    """2 sum_M p / (|M| + sum p): the Dice that probabilities `p` of an organ expect of its mask M, both `(z, y, x)`.

    The truth T is unknown; in |M and T| and |T| each voxel counts with the probability that it is the organ's.
    """
    return 2.0 * float(p[mask].sum()) / (float(mask.sum()) + float(p.sum()))


def organ_uncertainty(
    ensemble: Ensemble, votes_h: Array, organ: int, inside: tuple[slice, ...], t: float
) -> Uncertainty:
    """Uncertainty of class `organ` from the part `inside` the network's grid that holds every member's mask of it.

    Args:
        votes_h: vote entropy `(z, y, x)` of the whole grid.
        t: temperature of the soft entropy; mutual information is of the members as they are, or six that say the same
            would seem to disagree.
    """
    votes = ensemble.votes[(slice(None), *inside)]
    mask = ensemble.labels[inside] == organ
    several = votes.shape[0] > 1
    volumes = [float((votes[m] == organ).sum()) for m in range(votes.shape[0])]
    if not mask.any():
        return Uncertainty(vvc=volume_variation(volumes) if several else None)
    p = ensemble.probabilities[(slice(None), *inside)]
    soft = entropy_of(tempered(p, t))
    information = entropy_of(p) - ensemble.member_entropy[inside]
    return Uncertainty(
        vvc=volume_variation(volumes) if several else None,
        entropy=float(votes_h[inside][mask].mean()) if several else None,
        pairwise_dice=pairwise_dice(votes, organ) if several else None,
        soft_entropy=float(soft[mask].mean()),
        mutual_information=float(information[mask].mean()) if several else None,
        expected_dice=expected_dice(p[organ], mask),
    )


def features(uncertainty: Uncertainty, volume_ml: float) -> dict[str, float]:
    """The figures a calibration works on; what is not known is left out."""
    known = {name: getattr(uncertainty, name) for name in FEATURES if name != "log_volume"}
    out = {name: float(value) for name, value in known.items() if value is not None}
    if volume_ml > 0:
        out["log_volume"] = math.log(volume_ml)
    return out


def predict_dice(
    calibration: Calibration | None, figures: dict[str, float]
) -> tuple[float | None, tuple[float, float] | None]:
    """Predicted Dice and its conformal interval; (None, None) without a calibration or where a feature is missing."""
    if calibration is None or not calibration.coefficients.keys() <= figures.keys():
        return None, None
    raw = calibration.intercept + sum(k * figures[name] for name, k in calibration.coefficients.items())
    dice = min(1.0, max(0.0, raw))
    low, high = max(0.0, dice - calibration.half_width), min(1.0, dice + calibration.half_width)
    return dice, (low, high)


def disagreement(votes_h: Array, mask: Array, level: float = 0.25) -> tuple[int, int, str] | None:
    """First and last slice of the longest run in which the organ's mean vote entropy exceeds `level`, and where it is.

    Args:
        votes_h: vote entropy `(z, y, x)` inside the organ's box.
        mask: the organ inside the same box.

    Returns None if no slice does; else slice indices in the box and `inferior end`, `superior end` or `middle`.
    """
    size = mask.sum(axis=(1, 2))
    held = np.flatnonzero(size)
    if held.size == 0:
        return None
    mean = np.where(mask, votes_h, 0).sum(axis=(1, 2)) / np.maximum(size, 1)
    runs = [list(g) for hot, g in itertools.groupby(range(held[0], held[-1] + 1), lambda z: mean[z] > level) if hot]
    if not runs:
        return None
    longest = max(runs, key=len)
    if longest[0] == held[0]:
        where = "inferior end"
    elif longest[-1] == held[-1]:
        where = "superior end"
    else:
        where = "middle"
    return longest[0], longest[-1], where if len(longest) < held.size else "whole length"
