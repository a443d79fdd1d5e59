"""Which planes of a CT show an organ to a reviewer: where the members disagree most, its middle, and its length."""

from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Box, Grid, Shape, Triple, Volume
from rtseg_daemon.segment.resample import interpolate, part_of

AXIAL, CORONAL, SAGITTAL = 0, 1, 2
"""The axis of `(z, y, x)` that a plane stands across."""

NAMES = ("axial", "coronal", "sagittal")

IN_PLANE = {AXIAL: (1, 2), CORONAL: (0, 2), SAGITTAL: (0, 1)}
"""Axes down and along a picture."""

LETTERS = {AXIAL: "RLAP", CORONAL: "RLSI", SAGITTAL: "APSI"}
"""What lies on the left, on the right, at the top and at the bottom. Axial planes are seen from the feet."""

LEAST_SHARE = 0.2
"""Of the area of the organ's median slice. The first and last slices of every organ are small and in doubt."""


@dataclass(frozen=True)
class Cut:
    """The plane `index` across `axis`, and the part of it that is shown: a square of `centre_mm` and `side_mm`.

    Args:
        centre_mm: down and along the picture, in mm from the outer corner of the CT's first voxel.
    """

    axis: int
    index: int
    centre_mm: tuple[float, float]
    side_mm: float


@dataclass(frozen=True)
class Views:
    """The three planes of one organ."""

    worst: Cut
    middle: Cut
    long: Cut


def views_of(organ: Organ, entropy: Volume | None, ct: Volume) -> Views:
    """The planes of a found organ. `entropy` is the members' vote entropy (nats) on the network's grid."""
    assert organ.box is not None
    assert organ.mask is not None
    doubt = doubt_inside(organ.box, organ.mask, entropy, ct)
    worst, middle = worst_slice(organ, doubt), middle_slice(organ.mask)
    axis, index = long_plane(organ.mask, doubt, ct.spacing_mm)
    first = organ.box.start[0]
    return Views(
        axial(organ, first + worst, ct.spacing_mm),
        axial(organ, first + middle, ct.spacing_mm),
        framed(organ.box, axis, organ.box.start[axis] + index, ct.spacing_mm, margin_mm=20.0),
    )


def doubt_inside(box: Box, mask: Array, entropy: Volume | None, ct: Volume) -> Array:
    """Vote entropy inside the organ `(z, y, x)` in its box, 0 outside it and where there is none."""
    if entropy is None:
        return np.zeros(mask.shape, np.float32)
    grid = part_of(Grid(ct.shape, ct.spacing_mm, ct.origin_mm), box)
    return np.where(mask, interpolate(entropy, grid, 0.0).array, np.float32(0))


def worst_slice(organ: Organ, doubt: Array) -> int:
    """The slice of the organ's box with the largest mean entropy, among those that the comment's `slices=` names.

    Among all slices where the comment names none, or none that the organ reaches.
    """
    assert organ.box is not None
    assert organ.mask is not None
    area = organ.mask.sum(axis=(1, 2))
    large = area >= LEAST_SHARE * np.median(area[area > 0])
    numbers = np.arange(area.size) + organ.box.start[0] + 1
    first, last = organ.slices or (1, int(numbers[-1]))
    named = (numbers >= first) & (numbers <= last)
    for among in (large & named, (area > 0) & named, large):
        if among.any():
            mean = doubt.sum(axis=(1, 2)) / np.maximum(area, 1)
            return int(np.where(among, mean, -1.0).argmax())
    return middle_slice(organ.mask)


def middle_slice(mask: Array) -> int:
    """The middle one of the slices that the organ fills."""
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(filled[filled.size // 2])


def long_plane(mask: Array, doubt: Array, spacing_mm: Triple) -> tuple[int, int]:
    """Coronal or sagittal, whichever shows more of the organ, and where in its box: the plane with most of the doubt.

    Among planes that show at least half of what the best one shows.
    """
    found = []
    for axis in (SAGITTAL, CORONAL):
        area = mask.sum(axis=IN_PLANE[axis]) * np.prod([spacing_mm[a] for a in IN_PLANE[axis]])
        inside = doubt.sum(axis=IN_PLANE[axis])
        score = np.where(area >= 0.5 * area.max(), inside + 1e-6 * area, -1.0)
        found.append((float(area.max()), axis, int(score.argmax())))
    _, axis, index = max(found, key=lambda one: one[0])
    return axis, index


def axial(organ: Organ, index: int, spacing_mm: Triple) -> Cut:
    """An axial slice around what it shows of the organ, or around the whole of it where the slice is skipped."""
    assert organ.box is not None
    assert organ.mask is not None
    shown = organ.mask[index - organ.box.start[0]]
    box = organ.box
    if shown.any():
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        start = box.start[1] + int(rows[0]), box.start[2] + int(columns[0])
        stop = box.start[1] + int(rows[-1]) + 1, box.start[2] + int(columns[-1]) + 1
        box = Box((index, *start), (index + 1, *stop))
    return framed(box, AXIAL, index, spacing_mm)


def framed(box: Box, axis: int, index: int, spacing_mm: Triple, margin_mm: float = 30.0, least_mm: float = 90.0) -> Cut:
    """The plane with a square around `box`: `margin_mm` on every side, and at least `least_mm` in all."""
    down, along = IN_PLANE[axis]
    ends = [(box.start[a] * spacing_mm[a], box.stop[a] * spacing_mm[a]) for a in (down, along)]
    centre = tuple((low + high) / 2 for low, high in ends)
    side = max(least_mm, *(high - low + 2 * margin_mm for low, high in ends))
    return Cut(axis, index, (centre[0], centre[1]), side)


def shown_box(cut: Cut, shape: Shape, spacing_mm: Triple) -> Box:
    """The voxels of the CT that the cut shows, one thick. Empty where the square lies beside the CT."""
    start, stop = [0, 0, 0], [0, 0, 0]
    start[cut.axis], stop[cut.axis] = cut.index, cut.index + 1
    for axis, centre in zip(IN_PLANE[cut.axis], cut.centre_mm, strict=True):
        n, s = shape[axis], spacing_mm[axis]
        start[axis] = min(n, max(0, int((centre - cut.side_mm / 2) // s)))
        stop[axis] = max(start[axis], min(n, int((centre + cut.side_mm / 2) // s) + 1))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def level_in(organ: Organ, cut: Cut) -> tuple[Array, Box] | None:
    """What is contoured at 0 in the cut, positive inside the organ, with a border of -1, and the box that it fills.

    None where the cut does not meet the organ.
    """
    if organ.box is None or organ.mask is None:
        return None
    inside = cut.index - organ.box.start[cut.axis]
    if not 0 <= inside < organ.mask.shape[cut.axis]:
        return None
    field = organ.mask - np.float32(0.5) if organ.margin is None else organ.margin
    plane = np.take(field, inside, cut.axis)
    if not (plane > 0).any():
        return None
    return np.pad(plane, 1, constant_values=-1.0), organ.box
