"""Holes in a planar contour: a channel of no width joins the hole's outline to the outer one (PS3.3 C.8.8.6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from rtseg_daemon.anatomy.volume import Array

CANDIDATES = 8


@dataclass(frozen=True)
class Path:
    """A closed path: `points` (n, 2), the last joins the first; `fixed` (n,) marks those simplification must keep."""

    points: Array
    fixed: Array


def joined(rings: Sequence[Array]) -> Path:
    """One path around the first ring and, through keyholes, around the others, which are its holes.

    Rings are (n, 2) without the first point repeated; holes run the other way round than the outer ring, so that the
    winding number, too, is zero in them. The nearest hole is joined first.
    """
    outer = from_extreme(rings[0])
    path = Path(outer, np.zeros(len(outer), bool))
    holes = list(rings[1:])
    while holes:
        reach = [cKDTree(path.points).query(hole)[0].min() for hole in holes]
        path = with_hole(path, holes.pop(int(np.argmin(reach))), holes)
    return path


def from_extreme(ring: Array) -> Array:
    """The ring, starting at its lowest x (then y): a corner of its convex hull, so no point between two others."""
    first = int(np.lexsort((ring[:, 1], ring[:, 0]))[0])
    return np.roll(ring, -first, axis=0)


def with_hole(path: Path, hole: Array, others: Sequence[Array]) -> Path:
    """`path`, walked to its point nearest to `hole`, once around the hole, and back."""
    i, j = channel(path.points, hole, [path.points, hole, *others])
    around = np.vstack([np.roll(hole, -j, axis=0), hole[j]])
    points = np.vstack([path.points[: i + 1], around, path.points[i:]])
    turns = np.zeros(len(around), bool)
    turns[[0, -1]] = True
    fixed = np.concatenate([path.fixed[: i + 1], turns, path.fixed[i:]])
    fixed[[i, i + len(around) + 1]] = True
    return Path(points, fixed)


def channel(path: Array, hole: Array, rings: Sequence[Array]) -> tuple[int, int]:
    """Indices into `path` and `hole` of a short channel that crosses none of `rings`."""
    distance, nearest = cKDTree(path).query(hole, k=min(CANDIDATES, len(path)))
    distance, nearest = distance.reshape(len(hole), -1), nearest.reshape(len(hole), -1)
    for flat in np.argsort(distance, axis=None, kind="stable")[: 16 * CANDIDATES]:
        j, column = np.unravel_index(flat, distance.shape)
        i = int(nearest[j, column])
        if not any(crosses(path[i], hole[j], ring) for ring in rings):
            return i, int(j)
    j, column = np.unravel_index(int(distance.argmin()), distance.shape)
    return int(nearest[j, column]), int(j)


def crosses(a: Array, b: Array, ring: Array) -> bool:
    """Whether segment a-b properly crosses an edge of `ring`; touching end points do not count."""
    p, q = ring, np.roll(ring, -1, axis=0)
    of_p, of_q = side(a, b, p), side(a, b, q)
    of_a, of_b = side(p, q, a), side(p, q, b)
    return bool(((of_p * of_q < -1e-12) & (of_a * of_b < -1e-12)).any())


def side(a: Array, b: Array, c: Array) -> Array:
    """Twice the signed area of the triangle a, b, c (last axis x, y)."""
    u, v = b - a, c - a
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])
