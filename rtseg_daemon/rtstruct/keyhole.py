"""Holes in a planar contour: a channel of no width joins the hole's outline to the outer one (PS3.3 C.8.8.6.3).

Holes are joined from left to right, each from its leftmost point to a point on its left that it can see. What lies
there begins farther left and so is joined already. Outlines come from marching squares: each of their edges lies within
one row of cells, and only the edges of the leftmost point's rows are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.volume import Array

NEARBY = 1.0
"""Pixels left of the first edge on the left in which an end of the channel is looked for, too: an edge is no longer."""


@dataclass(frozen=True)
class Path:
    """A closed path: `points` (n, 2), the last joins the first. `fixed` (n,) marks those simplification must keep."""

    points: Array
    fixed: Array


def one_path(rings: Sequence[Array]) -> Path:
    """One path around the first ring and, through keyholes, around the others, which are its holes.

    Rings are (n, 2) without the first point repeated, their edges within the cells of the unit grid. Holes run the
    other way round than the outer ring, so that the winding number, too, is zero in them.
    """
    first = from_extreme(rings[0])
    if len(rings) == 1:
        return Path(first, np.zeros(len(first), bool))
    whole = [first, *(from_extreme(ring) for ring in rings[1:])]
    rows = Rows(whole)
    leftmost = rows.starts[1:]
    order = np.lexsort((rows.points[leftmost, 1], rows.points[leftmost, 0]))
    return walked(rows, [(rows.seen_on_the_left(start), start) for start in leftmost[order].tolist()])


def from_extreme(ring: Array) -> Array:
    """The ring, starting at its lowest x (then y): a corner of its convex hull, so no point between two others."""
    first = int(np.lexsort((ring[:, 1], ring[:, 0]))[0])
    return np.roll(ring, -first, axis=0)


class Rows:
    """All rings' points, one ring after the other, and their edges by the row of cells in which they lie."""

    def __init__(self, rings: Sequence[Array]) -> None:
        self.points = np.vstack(rings)
        self.stops = np.cumsum([len(ring) for ring in rings])
        self.starts = self.stops - [len(ring) for ring in rings]
        self.after = np.arange(1, len(self.points) + 1)
        self.after[self.stops - 1] = self.starts
        lower = np.floor(np.minimum(self.points[:, 1], self.points[self.after, 1])).astype(np.int64)
        self.first_row = int(lower.min())
        self.order = np.argsort(lower, kind="stable")
        self.row_starts = np.searchsorted(lower[self.order], np.arange(self.first_row, int(lower.max()) + 2))

    def edges(self, y: float) -> Array:
        """The edges (by their first point) of the row of cells that holds `y`, of both where it lies between two."""
        rows = np.array([np.ceil(y) - 1, np.floor(y) + 1], np.int64) - self.first_row
        low, high = np.clip(rows, 0, len(self.row_starts) - 1)
        return np.asarray(self.order[self.row_starts[low] : self.row_starts[high]])

    def seen_on_the_left(self, start: int) -> int:
        """The nearest point on the left of a hole's leftmost point `start` to which a line crosses no edge."""
        x, y = self.points[start]
        edges = self.edges(float(y))
        a, b = self.points[edges], self.points[self.after[edges]]
        others = (edges != start) & (self.after[edges] != start)
        spans = others & (np.minimum(a[:, 1], b[:, 1]) <= y) & (y <= np.maximum(a[:, 1], b[:, 1]))
        level = np.where(a[:, 1] == b[:, 1], 1.0, b[:, 1] - a[:, 1])
        at = a[:, 0] + (y - a[:, 1]) / level * (b[:, 0] - a[:, 0])
        wall = float(at[spans & (at < x)].max(initial=-np.inf))
        ends = np.unique(np.concatenate([edges, self.after[edges]]))
        place = self.points[ends]
        near = ends[(place[:, 0] < x) & (place[:, 0] >= wall - NEARBY)]
        by_distance = near[np.argsort(np.hypot(*(self.points[near] - (x, y)).T), kind="stable")]
        between = (np.maximum(a[:, 0], b[:, 0]) >= wall - NEARBY) & (np.minimum(a[:, 0], b[:, 0]) <= x)
        p, q = a[between], b[between]
        visible = (end for end in by_distance if not crosses(self.points[end], self.points[start], p, q))
        return int(next(visible, by_distance[0]))


def walked(rows: Rows, channels: Sequence[tuple[int, int]]) -> Path:
    """Once around the outer ring. At each channel's end over to the hole's start, around the hole, and back.

    Args:
        channels: (end, start) by numbers of points. The ring of an end is the outer one or was joined before.
    """
    last = dict(zip(rows.starts.tolist(), (rows.stops - 1).tolist(), strict=True))
    point = list(range(len(rows.points)))
    after = rows.after.tolist()
    for end, start in channels:
        back = len(point)
        point += [start, end]
        after += [back + 1, after[end]]
        after[end], after[last[start]] = start, back
    visited = [0]
    while (following := after[visited[-1]]) != 0:
        visited.append(following)
    passed = np.array(point)[visited]
    return Path(rows.points[passed], np.isin(passed, np.array(channels).ravel()))


def crosses(a: Array, b: Array, p: Array, q: Array) -> bool:
    """Whether segment a-b properly crosses one of the edges p-q. Touching end points do not count."""
    of_p, of_q = side(a, b, p), side(a, b, q)
    of_a, of_b = side(p, q, a), side(p, q, b)
    return bool(((of_p * of_q < -1e-12) & (of_a * of_b < -1e-12)).any())


def side(a: Array, b: Array, c: Array) -> Array:
    """Twice the signed area of the triangle a, b, c (last axis x, y)."""
    u, v = b - a, c - a
    return np.asarray(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0])
