"""Which slices of an organ a person left as they were: by the contours' points where they are known, else by voxels."""

from collections.abc import Mapping, Sequence

import numpy as np

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.rtstruct.raster import plane_of, slice_of

Slices = Mapping[int, Sequence[Array]]
"""Slice number (from 0, inferior to superior) -> closed outlines, each `(n, 2)` or `(n, 3)`, x and y first, in mm."""

MOST_MM = 0.5
"""Outlines nowhere farther apart are the same one, whatever the pixels. Systems round points, and some draw anew."""


def untouched_share(ours: Array, theirs: Array, pixel_mm: float, contours: tuple[Slices, Slices] | None) -> float:
    """Share of the slices that either has in which theirs is ours. Masks are `(z, y, x)`, `pixel_mm` a pixel's side.

    Equal voxels suffice, since a hole may have been written in another form. So do outlines that lie within half a
    pixel of each other, at most MOST_MM, since a planning system may round points across a pixel's centre.
    """
    drawn = np.flatnonzero((ours | theirs).any(axis=(1, 2)))
    if not len(drawn):
        return 1.0
    limit = min(MOST_MM, pixel_mm / 2)
    same = [
        bool((ours[k] == theirs[k]).all())
        or (contours is not None and alike(contours[0].get(int(k), ()), contours[1].get(int(k), ()), limit))
        for k in drawn
    ]
    return sum(same) / len(drawn)


def by_slice(contours: Sequence[Array], slice_z_mm: Sequence[float], distance_mm: float) -> dict[int, list[Array]]:
    """Contours `(n, 3)` x, y, z in mm, by the slice that each lies on. Those that lie on none are left out."""
    z, found = np.asarray(slice_z_mm), dict[int, list[Array]]()
    for points in contours:
        if (k := slice_of(plane_of(points), z, distance_mm, None)) is not None:
            found.setdefault(k, []).append(points[:, :2])
    return found


def alike(ours: Sequence[Array], theirs: Sequence[Array], limit_mm: float) -> bool:
    """Whether the outlines of a slice are the same, in whatever order. No outline at all is like nothing."""
    if not ours or len(ours) != len(theirs):
        return False
    left = list(theirs)
    for outline in ours:
        twin = next((k for k, other in enumerate(left) if same_outline(outline, other, limit_mm)), None)
        if twin is None:
            return False
        del left[twin]
    return True


def same_outline(one: Array, other: Array, limit_mm: float) -> bool:
    """Whether two closed outlines are nowhere farther apart than `limit_mm`."""
    ends = [np.concatenate([points[:, :2].min(axis=0), points[:, :2].max(axis=0)]) for points in (one, other)]
    if float(np.abs(ends[0] - ends[1]).max()) > limit_mm:
        return False
    return farthest_mm(one, other) <= limit_mm and farthest_mm(other, one) <= limit_mm


def farthest_mm(points: Array, outline: Array) -> float:
    """How far the farthest of `points` lies from a closed outline."""
    a = outline[:, :2]
    along = np.roll(a, -1, axis=0) - a
    length2 = np.maximum((along**2).sum(axis=1), 1e-18)
    apart = points[:, None, :2] - a[None]
    t = np.clip((apart * along).sum(axis=2) / length2, 0.0, 1.0)
    return float(np.sqrt(((apart - t[..., None] * along) ** 2).sum(axis=2).min(axis=1).max()))
