"""How two masks of one organ overlap, and how much contour would have to be drawn to turn one into the other."""

import math

import numpy as np
from scipy import ndimage

from rtseg_daemon.anatomy.volume import Array, Triple


def dice(one: Array, other: Array) -> float:
    """2 |A n B| / (|A| + |B|), or 1 if both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / total if total else 1.0


def contour_pixels(mask: Array) -> Array:
    """In-plane border of a mask `(z, y, x)`: voxels with one of their four neighbours in the slice outside."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    return np.asarray(mask & ~ndimage.binary_erosion(mask, cross))


def added_path_mm(wanted: Array, found: Array, spacing_mm: Triple, tolerance_mm: float = 0.0) -> float:
    """Added path length (Vaassen et al. 2020): pixels of the wanted contour off the found one, times the pixel's side.

    With a tolerance a pixel counts as drawn if a pixel of the found contour in the same slice is that near.
    """
    border, drawn = contour_pixels(wanted), contour_pixels(found)
    side = math.sqrt(spacing_mm[1] * spacing_mm[2])
    if tolerance_mm > 0:
        for z in range(drawn.shape[0]):
            if drawn[z].any():
                far = ndimage.distance_transform_edt(~drawn[z], sampling=spacing_mm[1:])
                drawn[z] = far <= tolerance_mm
    return float((border & ~drawn).sum()) * side
