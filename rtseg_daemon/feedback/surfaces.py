"""Surfaces of two masks, and how far they lie apart: elements with an area, at the corners between voxels.

The convention is that of Nikolov et al. (2021, JMIR 23:e26151). A surface element lies at each corner where the eight
voxels around it are not all alike. Its area is that of the marching-cubes surface between those eight. A distance is
that to the nearest element of the other surface. Every share, mean and percentile is weighted by area.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from rtseg_daemon.anatomy.volume import Array, Triple, bounding_box

INSIDE = 255
"""The code of a corner all of whose eight voxels are inside."""


@dataclass(frozen=True)
class Surface:
    """Elements of one surface, seen from the other.

    Args:
        area_mm2: `(n,)`.
        distance_mm: `(n,)`, to the other surface, never negative.
        outward: `(n,)`, 1 where the second surface lies outside the first one here, -1 where inside, else 0.
        position_mm: `(n, 3)` along (z, y, x), from the corner of the first voxel of the grid.
    """

    area_mm2: Array
    distance_mm: Array
    outward: Array
    position_mm: Array


def surfaces(first: Array, second: Array, spacing_mm: Triple) -> tuple[Surface, Surface]:
    """The surfaces of two masks `(z, y, x)` on one grid. Raises ValueError where one is empty."""
    box = bounding_box(first | second)
    if box is None or not first.any() or not second.any():
        raise ValueError("a mask is empty: it has no surface")
    codes = [corner_codes(mask[box.slices]) for mask in (first, second)]
    areas = element_areas(spacing_mm)
    ends = [(code > 0) & (code < INSIDE) for code in codes]
    far = [ndimage.distance_transform_edt(~end, sampling=spacing_mm) for end in ends]
    one = elements(ends[0], areas[codes[0]], far[1], inside_out(codes[1]), spacing_mm, box.start)
    other = elements(ends[1], areas[codes[1]], far[0], -inside_out(codes[0]), spacing_mm, box.start)
    return one, other


def corner_codes(mask: Array) -> Array:
    """For each corner of the voxels `(z + 1, y + 1, x + 1)` which of the eight around it are inside, a bit for each."""
    padded = np.pad(mask, 1).astype(np.uint8)
    z, y, x = mask.shape
    codes = np.zeros((z + 1, y + 1, x + 1), np.uint8)
    for bit in range(8):
        dz, dy, dx = bit >> 2, bit >> 1 & 1, bit & 1
        codes |= padded[dz : dz + z + 1, dy : dy + y + 1, dx : dx + x + 1] << bit
    return codes


def inside_out(codes: Array) -> Array:
    """1 at corners inside, -1 at those outside, 0 on the surface."""
    return np.asarray((codes == INSIDE).astype(np.int8) - (codes == 0).astype(np.int8))


def elements(
    where: Array, areas: Array, far: Array, outward: Array, spacing_mm: Triple, start: tuple[int, int, int]
) -> Surface:
    """The elements at the corners `where`, from what is known of every corner of a box that begins at `start`."""
    position = (np.argwhere(where) + np.asarray(start)) * np.asarray(spacing_mm)
    return Surface(areas[where], far[where], outward[where], position)


@lru_cache(maxsize=16)
def element_areas(spacing_mm: Triple) -> Array:
    """Area in mm2 of the surface between eight voxels, for each of the 256 codes of a corner."""
    areas = np.zeros(256)
    for code in range(1, INSIDE):
        cube = np.array([code >> bit & 1 for bit in range(8)], np.float32).reshape(2, 2, 2)
        corners, faces, _, _ = marching_cubes(cube, 0.5, spacing=spacing_mm)  # type: ignore[no-untyped-call]
        areas[code] = mesh_surface_area(corners, faces)  # type: ignore[no-untyped-call]
    return areas


def percentile_mm(surface: Surface, share: float) -> float:
    """The distance within which `share` of the surface's area lies."""
    order = np.argsort(surface.distance_mm)
    reached = np.cumsum(surface.area_mm2[order]) / surface.area_mm2.sum()
    place = min(int(np.searchsorted(reached, share)), len(order) - 1)
    return float(surface.distance_mm[order][place])


def area_within(surface: Surface, tolerance_mm: float) -> float:
    """Area in mm2 of the part that lies no farther from the other surface than `tolerance_mm`."""
    return float(surface.area_mm2[surface.distance_mm <= tolerance_mm].sum())
