"""An ROI on its CT: from contours to a mask, completed where every second slice was drawn, and what is odd about it."""

import itertools
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.series import CtSeries
from rtseg_daemon.rtstruct.reading import Structure, rasterised_on

MOST_SKIPPED = 3
"""Contours on every second or third slice are completed. Wider steps are left as drawn."""


def completed(mask: Array) -> tuple[Array, int]:
    """A mask `(z, y, x)` drawn on every second or third slice with the slices between, and how many were added.

    Only where that step is the rule: a single missing slice stays missing. Between two drawn slices the signed
    distance to their outlines is interpolated.
    """
    drawn = np.flatnonzero(mask.any(axis=(1, 2)))
    steps = np.diff(drawn)
    if steps.size < 2 or not 2 <= (step := int(np.median(steps))) <= MOST_SKIPPED or (steps == step).mean() < 0.6:
        return mask, 0
    out, added = mask.copy(), 0
    for low, high in itertools.pairwise(drawn.tolist()):
        if not 2 <= high - low <= MOST_SKIPPED:
            continue
        below, above = signed_distance(mask[low]), signed_distance(mask[high])
        for z in range(low + 1, high):
            share = (z - low) / (high - low)
            out[z] = (1 - share) * below + share * above > 0
            added += 1
    return out, added


def signed_distance(plane: Array) -> Array:
    """Distance in pixels to the outline, positive inside."""
    return np.asarray(ndimage.distance_transform_edt(plane) - ndimage.distance_transform_edt(~plane))


def draw(structure: Structure, series: CtSeries, say: Callable[[str], None]) -> tuple[Array, str] | None:
    """The mask of an ROI and its status, or None if nobody drew it. Says what is odd about it.

    `drawn`, `empty` (contours enclose no voxel) or `outside` (all are beyond the scanned range). An ROI without
    contours was never drawn (systems create them from templates): that is *not annotated*. So is one with oblique
    contours: the slices that they cross would be taken for empty.
    """
    if not structure.contours or structure.oblique:
        say(f"{structure.name!r} is not annotated: {structure.fault or structure.partly}")
        return None
    raster = rasterised_on(series, structure)
    if raster.oblique:
        say(f"{structure.name!r} is not annotated: {'; '.join(raster.oddities(len(structure.contours)))}")
        return None
    if raster.lost == len(structure.contours):
        say(f"{structure.name!r} lies outside the scanned range")
        return raster.mask, "outside"
    mask, added = completed(raster.mask)
    odd = [structure.partly, *raster.oddities(len(structure.contours))]
    if added:
        odd.append(f"drawn on every second or third slice, {added} slices interpolated")
    if gaps := gaps_in(mask):
        odd.append(f"{gaps} slices between its contours are empty")
    if any(odd):
        say(f"{structure.name!r}: {'; '.join(filter(None, odd))}")
    return mask, "drawn" if mask.any() else "empty"


def gaps_in(mask: Array) -> int:
    """How many slices between the first and the last that hold something hold nothing."""
    drawn = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(drawn[-1] - drawn[0] + 1 - drawn.size) if drawn.size else 0
