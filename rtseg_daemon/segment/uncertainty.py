"""How sure the ensemble is: per voxel by the members' votes, per organ by the figures that a prediction starts from."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from rtseg_daemon.anatomy.arrays import Values, at_least, beside, looked_up, module_of, on_host
from rtseg_daemon.anatomy.organ import Uncertainty
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.segment.ensemble import Ensemble, entropy_of


def vote_entropy(votes: Values, classes: int) -> Values:
    """Voxel entropy (nats) of the members' label votes, H = -sum p ln p (seed 001). `votes` is `(members, z, y, x)`.

    Six members give 0, 0.4506 (5+1), 0.6365 (4+2), 0.6931 (3+3), 0.8676 (4+1+1) and so on up to ln 6.
    """
    members = votes.shape[0]
    table = np.asarray([0.0] + [-(n / members) * math.log(n / members) for n in range(1, members + 1)], np.float32)
    xp, table = module_of(votes), beside(table, votes)
    out = xp.zeros_like(votes[0], dtype=xp.float32)
    for c in range(classes):
        out += looked_up(table, xp.sum(votes == c, 0, dtype=xp.uint8))
    return out


def volume_variation(volumes: Sequence[float]) -> float | None:
    """VVC = sigma_V / mu_V over the members' volumes (seed 002, eq. 7), or None where no member finds the organ."""
    mean = float(np.mean(volumes))
    return float(np.std(volumes)) / mean if mean > 0 else None


def pairwise_dice(sizes: Sequence[float], shared: Sequence[float]) -> float | None:
    """Mean Dice over all pairs of members' masks. Pairs in which both are empty do not count.

    Args:
        sizes: voxels of each member's mask.
        shared: voxels that the masks of each pair share, in the order of `itertools.combinations`.
    """
    pairs = zip(itertools.combinations(sizes, 2), shared, strict=True)
    scores = [2.0 * both / (a + b) for (a, b), both in pairs if a + b > 0]
    return float(np.mean(scores)) if scores else None


def tempered(p: Values, temperature: float) -> Values:
    """Probabilities at another temperature: p^(1/T), renormalised over the first axis."""
    if temperature == 1.0:
        return p
    xp = module_of(p)
    powered = at_least(p, 1e-7) ** (1.0 / temperature)
    return powered / xp.sum(powered, 0)


def expected_dice(inside: float, size: float, whole: float) -> float:
    """2 sum_M p / (|M| + sum p): the Dice that probabilities p of an organ expect of its mask M.

    The truth T is unknown. In |M and T| and |T| each voxel counts with the probability that it is the organ's.

    Args:
        inside: sum of p over the mask.
        size: voxels of the mask.
        whole: sum of p over the mask and around it.
    """
    return 2.0 * inside / (size + whole)


def organ_sums(
    ensemble: Ensemble, votes_h: Values, organ: int, inside: tuple[slice, ...], t: float
) -> tuple[Array, Array, Array]:
    """What the figures of class `organ` are made of: counts and sums over the box `inside`, on the host.

    First the voxels of each member's mask, then those that each pair of masks shares. Last the voxels of the common
    mask, over that mask vote entropy, soft entropy, mutual information and p, and p over the whole box.
    """
    xp = module_of(ensemble.votes)
    votes, mask = ensemble.votes[(slice(None), *inside)] == organ, ensemble.labels[inside] == organ
    p = ensemble.probabilities[(slice(None), *inside)]
    # voxels that the masks of two members share, and on the diagonal those of each: float32 counts exactly to 2^24
    flat = xp.asarray(votes.reshape(len(votes), -1), dtype=xp.float32)
    common = xp.asarray(flat @ flat.T, dtype=xp.float64)
    maps = [
        votes_h[inside],
        entropy_of(tempered(p, t)),
        entropy_of(p) - ensemble.member_entropy[inside],
        p[organ],
    ]
    over_mask = [xp.sum(xp.where(mask, one, 0.0), dtype=xp.float64) for one in maps]
    others = xp.stack([xp.sum(mask, dtype=xp.float64), *over_mask, xp.sum(p[organ], dtype=xp.float64)])
    found = on_host(xp.concatenate([common.reshape(-1), others]))  # to the host in one piece
    pairs = found[: len(votes) ** 2].reshape(len(votes), len(votes))
    return np.diagonal(pairs), pairs[np.triu_indices(len(votes), 1)], found[len(votes) ** 2 :]


def organ_uncertainty(
    ensemble: Ensemble, votes_h: Values, organ: int, inside: tuple[slice, ...], t: float
) -> Uncertainty:
    """Uncertainty of class `organ` from the part `inside` the network's grid that holds every member's mask of it.

    Args:
        votes_h: vote entropy `(z, y, x)` of the whole grid.
        t: temperature of the soft entropy. Mutual information is of the members as they are, or six that say the same
            would seem to disagree.
    """
    sizes, shared, sums = (found.tolist() for found in organ_sums(ensemble, votes_h, organ, inside, t))
    voxels, entropy, soft, information, p_inside, p_whole = sums
    several = len(sizes) > 1
    vvc = volume_variation(sizes) if several else None
    if voxels == 0:
        return Uncertainty(vvc=vvc)
    return Uncertainty(
        vvc=vvc,
        entropy=entropy / voxels if several else None,
        pairwise_dice=pairwise_dice(sizes, shared) if several else None,
        soft_entropy=soft / voxels,
        mutual_information=information / voxels if several else None,
        expected_dice=expected_dice(p_inside, voxels, p_whole),
    )


def disagreement(votes_h: Values, mask: Values, level: float = 0.25) -> tuple[int, int, str] | None:
    """First and last slice of the longest run in which the organ's mean vote entropy exceeds `level`, and where it is.

    Args:
        votes_h: vote entropy `(z, y, x)` inside the organ's box.
        mask: the organ inside the same box.

    Returns None if no slice does, else slice indices in the box and `inferior end`, `superior end` or `middle`.
    """
    xp = module_of(mask)
    sums = [xp.sum(xp.where(mask, one, 0.0), (1, 2)) for one in (xp.ones_like(votes_h), votes_h)]
    size, total = on_host(xp.stack(sums))
    held = np.flatnonzero(size)
    if held.size == 0:
        return None
    mean = total / np.maximum(size, 1)
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
