"""Contours become voxels: which slice each counts for, and which are holes, islands or the same contour twice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.rtstruct.contour import area, segment_distance
from rtseg_daemon.rtstruct.fill import enclosed

FLAT = 0.1
"""Share of the slice distance: a contour whose z varies by more is not axial, contours closer than this lie in one
plane. Systems round coordinates to two decimals or one."""

OFF_MM = 0.1
"""A contour farther than this from its slice, and farther than FLAT, was not drawn on it."""

NESTED = 0.9
"""Share of a contour's voxels that lie in the ROI already, from which on it is taken for the outline of a hole."""

ALIKE = 0.5
"""Share of a pixel: outlines nowhere farther apart are one contour that stands twice, and make no hole."""

THIN = 0.8
"""Share of the area of the contour around it, from which on a hole is told of."""


@dataclass(frozen=True)
class Raster:
    """An ROI's mask `(z, y, x)` and what the slices did to its contours.

    Args:
        lost: contours that lie on no slice, or beside others that lie nearer to the same slice.
        moved: contours that count for a slice more than OFF_MM away.
        oblique: contours that are left out because they are not axial.
        twice: contours that are nearly equal to another one of their slice, and were united with it.
        thin: holes that leave next to nothing of the contour around them.
    """

    mask: Array
    lost: int = 0
    moved: int = 0
    oblique: int = 0
    twice: int = 0
    thin: int = 0

    def oddities(self, contours: int) -> list[str]:
        """What a person should know of it, as parts of a sentence."""
        told = (
            (self.lost, "lie on no slice"),
            (self.moved, "lie beside their slice and were taken for it"),
            (self.oblique, "are not axial and were left out"),
            (self.twice, "stand twice in their slice and were united"),
            (self.thin, "lie close inside another one and were taken for holes"),
        )
        return [f"{count} of {contours} contours {what}" for count, what in told if count]


def rasterised(
    contours: Sequence[Array],
    volume: Volume,
    slice_z_mm: Sequence[float],
    stated: Sequence[int | None] | None = None,
) -> Raster:
    """The voxels whose centres lie in the contours.

    A contour counts for the slice of the image that it refers to (`stated`, PS3.3 C.8.8.6.1), where that is less than
    a slice distance away, else for the nearest slice, up to half a distance away. Where contours of several planes
    come to one slice, those of the nearest plane are its own. A contour within another of the same plane outlines a
    hole (or an island in a hole). Contours that overlap in part, and those that are nearly equal, are united. Planning
    systems write both keyholes and nested contours under CLOSED_PLANAR.
    """
    mask = np.zeros(volume.shape, bool)
    slices: dict[int, list[Array]] = {}
    z, distance = np.asarray(slice_z_mm), volume.spacing_mm[0]
    oblique = 0
    for points, image in zip(contours, stated or [None] * len(contours), strict=True):
        if float(np.ptp(points[:, 2])) > FLAT * distance:
            oblique += 1
        elif (k := slice_of(plane_of(points), z, distance, image)) is not None:
            slices.setdefault(k, []).append(points)
    used = moved = twice = thin = 0
    for k, near in slices.items():
        plane_mm = min(map(plane_of, near), key=lambda own: (abs(own - z[k]), own))
        drawn = [points for points in near if abs(plane_of(points) - plane_mm) <= FLAT * distance]
        in_slice = filled(mask[k], drawn, volume)
        twice, thin = twice + in_slice[0], thin + in_slice[1]
        used += len(drawn)
        moved += len(drawn) if abs(plane_mm - z[k]) > max(OFF_MM, FLAT * distance) else 0
    return Raster(mask, len(contours) - used - oblique, moved, oblique, twice, thin)


def plane_of(points: Array) -> float:
    """Patient z of a contour: rounding may put its points a little off each other."""
    return float(np.median(points[:, 2]))


def slice_of(plane_mm: float, z: Array, distance: float, stated: int | None) -> int | None:
    """The slice that a contour counts for, or None where it lies on none."""
    if stated is not None and abs(z[stated] - plane_mm) < distance:
        return stated
    nearest = int(np.abs(z - plane_mm).argmin())
    return nearest if abs(z[nearest] - plane_mm) <= distance * (0.5 + FLAT) else None


def filled(plane: Array, contours: Sequence[Array], volume: Volume) -> tuple[int, int]:
    """Fill the contours of one slice into it. Returns how many stand twice, and how many holes leave little."""
    twice = thin = 0
    done: list[Array] = []
    limit = ALIKE * min(volume.spacing_mm[1:])
    for points in sorted((one[:, :2] for one in contours), key=bounding_area, reverse=True):
        alike = any(nearly_equal(points, other, limit) for other in done)
        hole = add_polygon(plane, points, volume, united=alike)
        twice += alike
        thin += hole and any(within(points, other) and area(points) >= THIN * area(other) for other in done)
        done.append(points)
    return twice, thin


def nearly_equal(one: Array, other: Array, limit: float) -> bool:
    """Whether two outlines (n, 2) are nowhere farther apart than `limit` in x or in y, or half as much again."""
    ends = [np.concatenate([points.min(axis=0), points.max(axis=0)]) for points in (one, other)]
    if float(np.abs(ends[0] - ends[1]).max()) > limit:
        return False
    return outline_distance(one, other) <= 1.5 * limit and outline_distance(other, one) <= 1.5 * limit


def outline_distance(points: Array, outline: Array) -> float:
    """How far the farthest of `points` lies from a closed outline, both (n, 2)."""
    following = np.roll(outline, -1, axis=0)
    return max(
        float(segment_distance(np.broadcast_to(point, outline.shape), outline, following).min()) for point in points
    )


def within(inner: Array, outer: Array) -> bool:
    """Whether the box around one contour (n, 2) lies in that around another."""
    return bool((inner.min(axis=0) >= outer.min(axis=0)).all() and (inner.max(axis=0) <= outer.max(axis=0)).all())


def bounding_area(points: Array) -> float:
    """Area of the box around a contour, in mm2."""
    return float(np.prod(np.ptp(points[:, :2], axis=0)))


def add_polygon(plane: Array, points: Array, volume: Volume, united: bool = False) -> bool:
    """Fill one contour into a slice `(y, x)`, or clear it where it lies in what is filled already.

    `united`: it is filled in any case. Returns whether it was cleared.
    """
    row = (points[:, 1] - volume.origin_mm[1]) / volume.spacing_mm[1]
    column = (points[:, 0] - volume.origin_mm[2]) / volume.spacing_mm[2]
    rows, columns, inside = enclosed(row, column, (plane.shape[0], plane.shape[1]))
    part = plane[rows, columns]
    hole = not united and bool(inside.any()) and float(part[inside].mean()) >= NESTED
    part[inside] = not hole
    return hole
