"""How organs look on the network's grid, and how far that is from the population. Pure.

The network's grid has the same voxels for every scan, so that these figures do not depend on the CT's pixel size.
"""

import math
from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from rtseg_daemon.anatomy.organ import Appearance
from rtseg_daemon.anatomy.sides import twin_of
from rtseg_daemon.anatomy.volume import Array, Box, Volume
from rtseg_daemon.calibration import Normal, OrganPrior

SHELL = 2
"""Voxels around an organ that count as the tissue beside it."""
FARTHEST = 6.0
"""Standard deviations from which on it no longer matters how far something is off."""
NEIGHBOURS = 2
"""With fewer other organs found, nothing tells whether one lies in its place."""

UNUSUAL = (
    "volume_z",
    "extent_z",
    "place_z",
    "hu_z",
    "contrast_z",
    "continuity_z",
    "pair_volume",
    "pair_hu",
    "at_end",
    "missing",
)
"""Names of the figures that `unusual` gives for every organ."""


def appearance_of(labels: Array, channel: int, box: Box | None, network: Volume) -> Appearance | None:
    """How class `channel` of `labels` `(z, y, x)` looks in `network` (HU on the same grid), or None if it is not there.

    `box` holds all of its voxels.
    """
    if box is None:
        return None
    near = box.grown(SHELL, network.shape)
    mask = labels[near.slices] == channel
    if not mask.any():
        return None
    hu, step = network.array[near.slices], network.spacing_mm
    core = ndimage.binary_erosion(mask)
    inside = float(np.median(hu[core if core.sum() >= 8 else mask]))
    shell = ndimage.binary_dilation(mask, iterations=SHELL) & ~mask
    centre = [o + s * (b + float(i.mean())) for o, s, b, i in
              zip(network.origin_mm, step, near.start, np.nonzero(mask), strict=True)]  # fmt: skip
    extent = [s * n for s, n in zip(step, box.shape, strict=True)]
    return Appearance(
        volume_ml=float(mask.sum()) * network.voxel_ml,
        centre_mm=(centre[0], centre[1], centre[2]),
        extent_mm=(extent[0], extent[1], extent[2]),
        hu=inside,
        contrast=inside - float(np.median(hu[shell])) if shell.any() else 0.0,
        continuity=continuity_of(mask),
        at_end=box.start[0] == 0 or box.stop[0] == network.shape[0],
    )


def continuity_of(mask: Array) -> float:
    """Mean Dice of each slice of `mask` `(z, y, x)` with the next, from the first to the last. 1 for a single slice."""
    held = np.flatnonzero(mask.any(axis=(1, 2)))
    body = mask[held[0] : held[-1] + 1]
    if len(body) < 2:
        return 1.0
    shared = (body[1:] & body[:-1]).sum(axis=(1, 2))
    sizes = body.sum(axis=(1, 2))
    return float((2.0 * shared / np.maximum(sizes[1:] + sizes[:-1], 1)).mean())


def off(value: float, normal: Normal) -> float:
    """How many standard deviations `value` is from the population's median, FARTHEST at most either way."""
    return float(np.clip((value - normal[0]) / normal[1], -FARTHEST, FARTHEST))


def displaced(name: str, looks: Mapping[str, Appearance], prior: OrganPrior) -> float:
    """How far the organ `name` is from its place among the others: median over them of the root mean square along z, y
    and x of the standard deviations. 0 with fewer than NEIGHBOURS others."""
    far = []
    for other, normals in prior.offsets.items():
        if other in looks:
            between = np.subtract(looks[name].centre_mm, looks[other].centre_mm)
            far.append(math.sqrt(float(np.mean([off(d, n) ** 2 for d, n in zip(between, normals, strict=True)]))))
    return float(np.median(far)) if len(far) >= NEIGHBOURS else 0.0


def unusual(
    looks: Mapping[str, Appearance], priors: Mapping[str, OrganPrior], expected: int
) -> dict[str, dict[str, float]]:
    """For each organ of `looks` that has a prior, the UNUSUAL figures.

    Args:
        looks: the organs that were found, by name.
        priors: how organs look in the population, by name.
        expected: how many organs the bundle contours.
    """
    return {name: figures_of_one(name, looks, priors[name], expected) for name in looks if name in priors}


def figures_of_one(name: str, looks: Mapping[str, Appearance], prior: OrganPrior, expected: int) -> dict[str, float]:
    """The UNUSUAL figures of one organ."""
    look, twin = looks[name], looks.get(twin_of(name) or "")
    extents = [off(mm, normal) for mm, normal in zip(look.extent_mm, prior.extent_mm, strict=True)]
    return {
        "volume_z": abs(off(math.log(max(look.volume_ml, 1e-3)), prior.log_volume)),
        "extent_z": math.sqrt(float(np.mean(np.square(extents)))),
        "place_z": displaced(name, looks, prior),
        "hu_z": abs(off(look.hu, prior.hu)),
        "contrast_z": abs(off(look.contrast, prior.contrast)),
        "continuity_z": max(0.0, -off(look.continuity, prior.continuity)),
        "pair_volume": min(abs(math.log(look.volume_ml / twin.volume_ml)), 2.0) if twin else 0.0,
        "pair_hu": min(abs(look.hu - twin.hu) / 10.0, FARTHEST) if twin else 0.0,
        "at_end": float(look.at_end),
        "missing": 1.0 - len(looks) / expected,
    }
