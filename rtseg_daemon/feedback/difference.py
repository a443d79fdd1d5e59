"""What a person changed of an organ: our contour and the one that came back, on the CT's grid. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.overlap import added_path_mm, dice
from rtseg_daemon.anatomy.volume import Array, Grid, bounding_box
from rtseg_daemon.feedback.surfaces import Surface, area_within, percentile_mm, surfaces
from rtseg_daemon.feedback.tolerances import tolerance_mm
from rtseg_daemon.feedback.untouched import Slices, untouched_share

FINE_MM = 2.0
"""The tolerance at which surface Dice sees edits that Dice hides."""
DIRECTIONS = (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))
"""Along (z, y, x), whose indices grow towards superior, posterior and left: the lower and the upper end of each."""
DIGITS = 4


@dataclass(frozen=True)
class Difference:
    """What was changed of one organ. Distances are None where one of the two contours is empty.

    Args:
        dsc: 2 |A n B| / (|A| + |B|).
        surface_dsc_2mm, surface_dsc: share of both surfaces within 2 mm of the other, and within the organ's tolerance.
        tolerance_mm: the organ's, see feedback/tolerances.py.
        added_path_mm: length of their contour that does not run along ours (Vaassen et al. 2020).
        hd95_mm: the larger of the two directed 95th percentiles of the distance between the surfaces.
        mean_signed_distance_mm: mean over both surfaces of the distance between them, positive where theirs is larger.
        volume_ml, our_volume_ml: theirs and ours.
        untouched: share of the slices that were left as they were, of those in which either has a contour.
        edited: `mean_signed_distance_mm` of the six parts in which the surface lies as seen from the middle of ours.
        untouched_whole: whether every slice was left as it was: no independent truth.
    """

    dsc: float
    surface_dsc_2mm: float
    surface_dsc: float
    tolerance_mm: float
    added_path_mm: float
    hd95_mm: float | None
    mean_signed_distance_mm: float | None
    volume_ml: float
    our_volume_ml: float
    untouched: float
    edited: dict[str, float | None]
    untouched_whole: bool

    def shape(self) -> dict[str, Any]:
        """As the ledger keeps it: every figure rounded to four digits after the point."""
        shape = asdict(self)
        shape["edited"] = {where: rounded(value) for where, value in self.edited.items()}
        return {key: rounded(value) if isinstance(value, float) else value for key, value in shape.items()}


def rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DIGITS)


def difference(
    ours: Array | None,
    theirs: Array | None,
    grid: Grid,
    organ: str,
    contours: tuple[Slices, Slices] | None = None,
) -> Difference:
    """What was changed from `ours` to `theirs`, masks `(z, y, x)` bool on `grid`, None where one has no contour.

    `contours` are ours and theirs, as feedback/untouched.py has them. Without them a slice was left as it was where its
    voxels are the same. Raises ValueError where both are empty or a mask is of another shape than the grid.
    """
    one, other = on_grid(ours, grid), on_grid(theirs, grid)
    box = bounding_box(one | other)
    if box is None:
        raise ValueError(f"{organ} has no contour in either structure set: there is nothing to compare")
    spacing, voxel_ml = grid.spacing_mm, float(np.prod(grid.spacing_mm)) / 1000.0
    untouched = untouched_share(one, other, min(spacing[1:]), contours)
    box = box.grown(1, grid.shape)
    one, other = one[box.slices], other[box.slices]
    tolerance = tolerance_mm(organ)
    apart = surfaces(one, other, spacing) if one.any() and other.any() else None
    return Difference(
        dsc=dice(one, other),
        surface_dsc_2mm=surface_dice(apart, FINE_MM),
        surface_dsc=surface_dice(apart, tolerance),
        tolerance_mm=tolerance,
        added_path_mm=added_path_mm(other, one, spacing),
        hd95_mm=max(percentile_mm(surface, 0.95) for surface in apart) if apart else None,
        mean_signed_distance_mm=mean_signed_mm(apart) if apart else None,
        volume_ml=int(other.sum()) * voxel_ml,
        our_volume_ml=int(one.sum()) * voxel_ml,
        untouched=untouched,
        edited=edited(apart, one, grid),
        untouched_whole=untouched == 1.0,
    )


def on_grid(mask: Array | None, grid: Grid) -> Array:
    """The mask, or an empty one. Raises ValueError where it is of another shape."""
    if mask is None:
        return np.zeros(grid.shape, bool)
    if mask.shape != grid.shape:
        raise ValueError(f"a mask of shape {mask.shape} does not fit the grid {grid.shape}")
    return mask.astype(bool, copy=False)


def surface_dice(apart: tuple[Surface, Surface] | None, tolerance: float) -> float:
    """Share of both surfaces' area within the tolerance of the other, 0 where one is empty."""
    if apart is None:
        return 0.0
    total = sum(float(surface.area_mm2.sum()) for surface in apart)
    return sum(area_within(surface, tolerance) for surface in apart) / total


def mean_signed_mm(apart: tuple[Surface, Surface], parts: tuple[Array, Array] | None = None) -> float | None:
    """Mean over both surfaces, or over a part of each, of how far the second lies outside the first. None for none."""
    total = moment = 0.0
    for k, surface in enumerate(apart):
        area = surface.area_mm2 if parts is None else surface.area_mm2 * parts[k]
        total += float(area.sum())
        moment += float((area * surface.distance_mm * surface.outward).sum())
    return moment / total if total > 0 else None


def edited(apart: tuple[Surface, Surface] | None, ours: Array, grid: Grid) -> dict[str, float | None]:
    """Where it was changed: the mean signed distance of each of six parts.

    A part holds what lies farthest towards one direction as seen from the middle of ours, in units of ours' half
    extent, so that a long organ has sides and ends.
    """
    names = [name for pair in DIRECTIONS for name in pair]
    if apart is None:
        return dict.fromkeys(names)
    box = bounding_box(ours)
    assert box is not None
    spacing = np.asarray(grid.spacing_mm)
    half = np.asarray(box.shape) * spacing / 2
    middle = np.asarray(box.start) * spacing + half
    part = [part_of((surface.position_mm - middle) / half) for surface in apart]
    return {name: mean_signed_mm(apart, (part[0] == k, part[1] == k)) for k, name in enumerate(names)}


def part_of(place: Array) -> Array:
    """For each place `(n, 3)` along (z, y, x), as shares of the half extent, the number of its direction's name."""
    axis = np.abs(place).argmax(axis=1)
    upper = np.take_along_axis(place, axis[:, None], axis=1)[:, 0] > 0
    return np.asarray(2 * axis + upper)
