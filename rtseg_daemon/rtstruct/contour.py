"""Where an organ ends, as closed polygons per slice, finer than the voxels and true to the mask.

The boundary is the zero level of the signed margin between voxel centres (marching squares), or half way between
voxel centres where there is only a mask. Whatever is done to the polygon afterwards keeps every voxel centre on its
side, so that a reader of the pixel-centre rule gets the mask again. Holes are cut by keyholes (see docs/rtstruct.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
from contourpy import FillType, contour_generator

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.rtstruct.keyhole import Path, one_path

TOLERANCE_MM = 0.1
"""Upper bound of what simplification may move the boundary."""

CLEARANCE = 0.1
"""Share of a voxel by which the boundary keeps from voxel centres along the grid's lines."""

SMALLEST_MARGIN = 1e-3


@dataclass(frozen=True)
class Contour:
    """One closed polygon of slice `index`: `points_mm` (n, 2) are patient x and y. The last point joins the first."""

    index: int
    points_mm: Array


def trace(organ: Organ, volume: Volume, tolerance_mm: float = TOLERANCE_MM) -> list[Contour]:
    """All contours of `organ` on the grid of `volume`, inferior to superior, or none if it was not found."""
    if organ.box is None or organ.mask is None:
        return []
    offset = organ.box.start
    paths: list[Path] = []
    slices: list[int] = []
    for k in np.flatnonzero(organ.mask.any(axis=(1, 2))):
        found = outline(organ.mask[k], None if organ.margin is None else organ.margin[k])
        paths += found
        slices += [offset[0] + int(k)] * len(found)
    step = np.array([volume.spacing_mm[2], volume.spacing_mm[1]])
    start = np.array([volume.origin_mm[2] + offset[2] * step[0], volume.origin_mm[1] + offset[1] * step[1]])
    scaled = [Path(path.points * step, path.fixed) for path in paths]
    share = 0.6 * CLEARANCE if organ.margin is not None else 0.3
    thinned = simplified(scaled, min(tolerance_mm, share * float(step.min())))
    return [Contour(k, points + start) for k, points in zip(slices, thinned, strict=True) if area(points) > 0]


def signed_field(mask: Array, margin: Array | None) -> Array:
    """A field whose sign is the mask's and whose size is the margin's, one voxel of outside around it.

    Post-processing moves voxels in or out against the margin's sign. There only its size is used. Beyond the box the
    nearest value is mirrored, so an organ that touches the border closes half a voxel outside the last centre.
    """
    inside = np.pad(mask, 1)
    if margin is None or not np.isfinite(margin).all():
        return np.asarray(np.where(inside, 1.0, -1.0))
    size = np.maximum(np.pad(np.abs(margin.astype(np.float64)), 1, mode="edge"), SMALLEST_MARGIN)
    return np.asarray(np.where(inside, size, -size))


def outline(mask: Array, margin: Array | None) -> list[Path]:
    """Closed paths around the True voxels of one slice `(y, x)`, as (x, y) indices, holes joined by keyholes."""
    field = signed_field(mask, margin)
    generator = contour_generator(z=field, fill_type=FillType.OuterOffset)
    polygons, offsets = cast(tuple[list[Array], list[Array]], generator.filled(0.0, np.inf))
    paths = []
    for points, parts in zip(polygons, offsets, strict=True):
        kept_clear = clear_of_centres(np.asarray(points)) - 1.0
        paths.append(one_path([kept_clear[a : b - 1] for a, b in pairwise(parts)]))
    return paths


def clear_of_centres(points: Array) -> Array:
    """Marching squares' vertices (n, 2), moved along their grid line to CLEARANCE from both neighbouring centres."""
    nearest = np.rint(points)
    moving = np.abs(points - nearest).argmax(axis=1)
    rows = np.arange(len(points))
    value = points[rows, moving]
    base = np.floor(value)
    result = nearest.astype(np.float64)
    result[rows, moving] = base + np.clip(value - base, CLEARANCE, 1.0 - CLEARANCE)
    return result


def simplified(paths: Sequence[Path], tolerance_mm: float) -> list[Array]:
    """Douglas-Peucker on all closed paths at once: dropped points lie within `tolerance_mm` of the polygon kept.

    A path's first point and its fixed points stay. (Douglas & Peucker, Cartographica 10:112, 1973.)
    """
    if not paths:
        return []
    closed = [np.vstack([path.points, path.points[:1]]) for path in paths]
    points = np.vstack(closed)
    ends = np.cumsum([len(part) for part in closed])
    starts = ends - [len(part) for part in closed]
    kept = np.concatenate([np.append(path.fixed, True) for path in paths])
    kept[starts] = True
    while (added := farthest(points, kept, tolerance_mm)).any():
        kept |= added
    return [points[a : b - 1][kept[a : b - 1]] for a, b in zip(starts, ends, strict=True)]


def farthest(points: Array, kept: Array, tolerance: float) -> Array:
    """For each chord between neighbouring kept points: the point farthest off it, if by more than `tolerance`."""
    knots = np.flatnonzero(kept)
    chord = np.cumsum(kept) - 1
    a = points[knots[chord]]
    b = points[knots[np.minimum(chord + 1, knots.size - 1)]]
    distance = segment_distance(points, a, b)
    distance[kept] = 0.0
    worst = np.maximum.reduceat(distance, knots)[chord]
    return np.asarray((distance == worst) & (worst > tolerance))


def segment_distance(points: Array, a: Array, b: Array) -> Array:
    """Distance of each point (n, 2) to its segment a-b."""
    along = b - a
    length2 = np.maximum((along**2).sum(axis=1), 1e-18)
    t = np.clip(((points - a) * along).sum(axis=1) / length2, 0.0, 1.0)
    return np.asarray(np.hypot(*(points - a - t[:, None] * along).T))


def area(points: Array) -> float:
    """Area enclosed by a polygon (n, 2), or 0 for fewer than three points."""
    if len(points) < 3:
        return 0.0
    x, y = (points - points[0]).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2.0
