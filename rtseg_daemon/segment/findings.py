"""What the ensemble says of one organ: figures, and its margin on the CT's grid. Made where the probabilities lie."""

from dataclasses import replace

from rtseg_daemon.anatomy.arrays import Values, module_of, on_host
from rtseg_daemon.anatomy.organ import Uncertainty
from rtseg_daemon.anatomy.volume import Array, Box, Grid, Volume, bounding_box, bounding_boxes
from rtseg_daemon.segment.ensemble import Ensemble
from rtseg_daemon.segment.resample import box_on, interpolate, part_of
from rtseg_daemon.segment.uncertainty import organ_uncertainty

LEAST_MARGIN = 1e-6
"""More than rounding makes of a margin of zero: no voxel can belong to two organs."""


def figures_of(ensemble: Ensemble, entropy: Values, organs: int, temperature: float) -> list[Uncertainty]:
    """The uncertainty of the classes 1 to `organs`, each from the box of all masks of it, members' and common."""
    xp, numbers = module_of(ensemble.votes), range(1, organs + 1)
    found = [xp.any(ensemble.votes == k, 0) | (ensemble.labels == k) for k in numbers]
    insides = [box.slices if box else (slice(0, 0),) * 3 for box in bounding_boxes(xp.stack(found))]
    return [
        organ_uncertainty(ensemble, entropy, k, inside, temperature) for k, inside in zip(numbers, insides, strict=True)
    ]


def boxes_of(labels: Values, organs: int) -> list[Box | None]:
    """The box of each of the classes 1 to `organs` in `labels` `(z, y, x)`, None for one that is not there."""
    return bounding_boxes(module_of(labels).stack([labels == k for k in range(1, organs + 1)]))


def signed_margin(p: Values, organ: int) -> Values:
    """p_c minus the largest of the others `(z, y, x)`: positive where the organ wins.

    Two organs' margins sum to at most 0 at every voxel, and so do their linear interpolations: organs never overlap.
    """
    xp = module_of(p)
    return p[organ] - xp.amax(xp.concatenate([p[:organ], p[organ + 1 :]]), 0)


def margin_on_ct(ensemble: Ensemble, coarse: Box, network: Volume, ct: Grid, channel: int) -> tuple[Box, Array] | None:
    """The signed margin of one organ on the CT's grid and the box that it fills, one voxel around the organ.

    Made where the probabilities lie. What comes to the host is the organ's own box. None where no voxel is left of it.
    """
    near = coarse.grown(2, network.shape)
    part = network.crop(near)
    margin = replace(part, array=signed_margin(ensemble.probabilities[(slice(None), *near.slices)], channel))
    box = box_on(ct, margin)
    fine = interpolate(margin, part_of(ct, box), fill=-1.0).array
    tight = bounding_box(fine > LEAST_MARGIN)
    if tight is None:
        return None
    tight = tight.grown(1, box.shape)
    return moved(tight, box.start), on_host(fine[tight.slices])


def moved(box: Box, by: tuple[int, int, int]) -> Box:
    """`box` counted from the corner `by` of an outer box."""
    start = [a + b for a, b in zip(box.start, by, strict=True)]
    stop = [a + b for a, b in zip(box.stop, by, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
