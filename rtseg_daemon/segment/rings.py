"""Where the members disagree about an organ, as a further ROI: a ring along its boundary, for a planner who asks.

A voxel of the network's grid belongs to an organ's ring if a member votes for the organ there and the entropy of the
members' votes reaches the bundle's `entropy_level`. Votes come in steps (six members: 0, 0.45, 0.64 ... nats), so
it is this yes or no that is interpolated to the CT's grid and cut at one half: interpolated entropies would shrink
a layer of 5+1 votes to nothing.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Box, Grid, Triple, bounding_box
from rtseg_daemon.segment.pipeline import Segmentation
from rtseg_daemon.segment.resample import interpolate, part_of

REACH_MM = 10.0
"""A ring keeps within this distance of the organ's boundary: a member's false find elsewhere is none of it."""


def rings_of(found: Segmentation, organs: Sequence[Organ], ct: Grid, level: float) -> list[Organ]:
    """One ring, named as its organ, for each of `organs` on the grid `ct` whose members disagree near its boundary.

    Args:
        found: what the bundle said. Its organs have the order of `organs`, the classes 1, 2, ...
        organs: the organs as judged. Those not found have no ring.
        level: least vote entropy (nats) of a ring's voxels.
    """
    rings = (ring_of(found, organ, channel, ct, level) for channel, organ in enumerate(organs, 1))
    return [ring for ring in rings if ring is not None]


def ring_of(found: Segmentation, organ: Organ, channel: int, ct: Grid, level: float) -> Organ | None:
    """The ring of the class `channel`, in a box that its organ's lies in, or None where there is no such voxel."""
    if organ.box is None or organ.mask is None:
        return None
    box = reaching(organ.box, ct)
    doubtful = (found.entropy >= level) & (found.ensemble.votes == channel).any(axis=0)
    coarse = bounding_box(doubtful)
    if coarse is None:
        return None
    coarse = coarse.grown(1, found.network.shape)
    source = found.network.crop(coarse).with_array(doubtful[coarse.slices])
    margin = interpolate(source, part_of(ct, box), fill=0.0).array - np.float32(0.5)
    mask = (margin > 0) & near_boundary(organ.mask, organ.box, box, ct.spacing_mm)
    tight = bounding_box(mask)
    if tight is None:
        return None
    volume_ml = float(mask.sum()) * float(np.prod(ct.spacing_mm)) / 1000.0
    return Organ(
        organ.name,
        Box(shifted(tight.start, box.start), shifted(tight.stop, box.start)),
        mask[tight.slices].copy(),
        margin[tight.slices].copy(),
        volume_ml,
        organ.uncertainty,
        flag=organ.flag,
        reasons=(f"no organ: where members disagree about {organ.name}, vote entropy {level:.2f} nats or more",),
    )


def reaching(box: Box, ct: Grid) -> Box:
    """`box` with REACH_MM more on every side, cut at the grid's edge."""
    steps = [int(np.ceil(REACH_MM / spacing)) for spacing in ct.spacing_mm]
    start = [max(0, a - n) for a, n in zip(box.start, steps, strict=True)]
    stop = [min(size, b + n) for b, n, size in zip(box.stop, steps, ct.shape, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def near_boundary(mask: Array, inner: Box, outer: Box, spacing_mm: Triple) -> Array:
    """Voxels of `outer` at most REACH_MM from the boundary of an organ whose `mask` fills `inner`."""
    wide = np.zeros(outer.shape, bool)
    offset = [a - b for a, b in zip(inner.start, outer.start, strict=True)]
    wide[tuple(slice(o, o + n) for o, n in zip(offset, inner.shape, strict=True))] = mask
    distance = np.where(
        wide,
        ndimage.distance_transform_edt(wide, spacing_mm),
        ndimage.distance_transform_edt(~wide, spacing_mm),
    )
    return np.asarray(distance <= REACH_MM)


def shifted(corner: tuple[int, int, int], by: tuple[int, int, int]) -> tuple[int, int, int]:
    """A corner counted from `by`, counted from the grid's own corner."""
    return corner[0] + by[0], corner[1] + by[1], corner[2] + by[2]
