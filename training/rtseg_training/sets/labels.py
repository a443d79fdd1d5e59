"""One label per voxel of another grid than a case was drawn on. Each organ is interpolated inside its own box alone."""

from collections.abc import Sequence

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Box, Grid
from rtseg_daemon.segment.resample import axis_weights, multiplied
from rtseg_training.sets.cases import STATUSES, Case


def labels_on(case: Case, grid: Grid, organs: Sequence[str], inside: Box | None = None) -> tuple[Array, Array]:
    """True labels uint8 `(z, y, x)` on `grid` (or its part `inside`) and which organs are annotated `(organs + 1,)`.

    A mask is interpolated linearly. A voxel is the organ's with the largest share of it, if that is a half or more.
    Label k is `organs[k - 1]`, 0 the background, which counts as annotated.
    """
    part = inside or Box((0, 0, 0), grid.shape)
    weights = [axis_matrix(case, grid, part, axis) for axis in range(3)]
    # the axis that grows least goes first, as where whole volumes are interpolated
    order = sorted(range(3), key=lambda axis: grid.shape[axis] / case.ct.shape[axis])
    labels, best = np.zeros(part.shape, np.uint8), np.full(part.shape, 0.5, np.float32)
    annotated = np.zeros(len(organs) + 1, bool)
    annotated[0] = True
    for k, organ in enumerate(organs, 1):
        if organ not in case.structures or case.status.get(organ) not in STATUSES:
            continue
        annotated[k] = True
        box = case.box(organ)
        if box is None:
            continue
        where, share = share_of(case.mask(organ, box), box, weights, order)
        wins = share >= best[where]
        labels[where][wins] = k
        best[where] = np.maximum(best[where], share)
    return labels, annotated


def axis_matrix(case: Case, grid: Grid, part: Box, axis: int) -> Array:
    """Weights `(new, old)` of linear interpolation of a case to `part` of `grid` along `axis`, 0 beyond the case."""
    matrix, known = axis_weights(case.ct, grid, axis)
    if matrix is None:
        matrix = np.eye(grid.shape[axis], case.ct.shape[axis], dtype=np.float32)
    return np.asarray((matrix * known[:, None])[part.slices[axis]])


def share_of(
    mask: Array, box: Box, weights: Sequence[Array], order: Sequence[int]
) -> tuple[tuple[slice, slice, slice], Array]:
    """Where on the new grid a mask, given inside its `box`, has a share of the voxels, and that share."""
    where, share = [slice(0, 0)] * 3, mask.astype(np.float32)
    for axis in order:
        columns = weights[axis][:, box.slices[axis]]
        rows = np.flatnonzero(columns.any(axis=1))
        where[axis] = slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)
        share = multiplied(share, np.ascontiguousarray(columns[where[axis]]), axis)
    return (where[0], where[1], where[2]), share
