"""What happens to a CT before a network sees it, and the way back to the CT's grid."""

import numpy as np

from rtseg_daemon.anatomy.arrays import Values, as_float, beside, float_copy, module_of
from rtseg_daemon.anatomy.volume import AIR_HU, Array, Box, Grid, Shape, Triple, Volume


def spaced_grid(volume: Volume, spacing_mm: Triple) -> Grid:
    """The grid of `spacing_mm` that covers the same extent, voxel edges aligned at the first corner."""
    shape, origin = [], []
    for n, old, new, start in zip(volume.shape, volume.spacing_mm, spacing_mm, volume.origin_mm, strict=True):
        shape.append(max(1, round(n * old / new)))
        origin.append(start - old / 2 + new / 2)
    return Grid((shape[0], shape[1], shape[2]), spacing_mm, (origin[0], origin[1], origin[2]))


def resample(volume: Volume, grid: Grid, fill: float = AIR_HU, sampled: bool = False) -> Volume:
    """Linear interpolation onto `grid`, float32. Outside the volume it is `fill`.

    Beside sampled slices the values of their edge count.

    Where the new voxel holds two or more old ones along an axis, blocks of old ones are averaged first, so that
    noise is not sampled but averaged. With `sampled`, slices alone are averaged, and pixels are not: for
    networks that learned from CTs whose large pixels are samples of small ones, as sharp and as noisy as those.
    The volume's array may lie on a card, and the answer's lies there too.
    """
    factor = [max(1, int(new / old + 1e-3)) for old, new in zip(volume.spacing_mm, grid.spacing_mm, strict=True)]
    if sampled and max(factor[1:]) > 1:
        volume, factor = sampled_slices(volume, grid), [factor[0], 1, 1]
    source = block_mean(volume, (factor[0], factor[1], factor[2])) if max(factor) > 1 else volume
    return interpolate(source, grid, fill)


def interpolate(volume: Volume, grid: Grid, fill: float = AIR_HU) -> Volume:
    """Linear interpolation at the points of `grid`, float32. The edge voxel's value holds to its outer edge.

    Each axis is a product with a matrix that has two weights a row: several times as fast as point by point, and an
    axis on which the grids agree costs nothing.
    """
    weights = [axis_weights(volume, grid, axis) for axis in range(3)]
    array = as_float(volume.array)
    # the axis that grows least goes first: what follows it has the fewest points
    for axis in sorted(range(3), key=lambda a: grid.shape[a] / volume.shape[a]):
        matrix = weights[axis][0]
        if matrix is not None:
            array = multiplied(array, beside(matrix, array), axis)
    for axis, (_, known) in enumerate(weights):
        if not known.all():
            array = array if array is not volume.array else float_copy(array)
            within = np.flatnonzero(known)
            first, stop = (within[0], within[-1] + 1) if within.size else (len(known), len(known))
            for beyond in (slice(0, first), slice(stop, None)):
                array[(slice(None),) * axis + (beyond,)] = fill
    return Volume(array, grid.spacing_mm, grid.origin_mm)


def multiplied(array: Values, matrix: Values, axis: int) -> Values:
    """`array` `(z, y, x)` with `matrix` `(new, old)` applied along `axis`."""
    if axis == 0:
        return (matrix @ array.reshape(array.shape[0], -1)).reshape(-1, *array.shape[1:])
    return matrix @ array if axis == 1 else array @ matrix.T


def axis_weights(volume: Volume, grid: Grid, axis: int) -> tuple[Array | None, Array]:
    """The matrix `(new, old)` of linear interpolation along `axis`, None where it would change nothing, and which of
    the new points lie within the volume, its outer edges included."""
    size, step, first = volume.shape[axis], volume.spacing_mm[axis], volume.origin_mm[axis]
    place = (grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.shape[axis]) - first) / step
    known = (place >= -0.5 - 1e-6) & (place <= size - 0.5 + 1e-6)
    if grid.shape[axis] == size and np.allclose(place, np.arange(size), rtol=0, atol=1e-3):
        return None, known
    place = np.clip(place, 0, size - 1)
    before = place.astype(int)
    matrix, row = np.zeros((len(place), size), np.float32), np.arange(len(place))
    matrix[row, np.minimum(before + 1, size - 1)] = place - before
    matrix[row, before] += 1 - (place - before)
    return matrix, known


def sampled_slices(volume: Volume, grid: Grid) -> Volume:
    """Each slice interpolated linearly at the pixel centres of `grid`, float32. Beyond the outermost centres their
    values hold. Only the rows that are needed are read."""
    xp, source = module_of(volume.array), volume.array
    (y, down), (x, right) = (neighbours(volume, grid, axis) for axis in (1, 2))
    y_next, x_next = (np.minimum(n + 1, size - 1) for n, size in zip((y, x), volume.shape[1:], strict=True))
    y, x, y_next, x_next = (beside(n, source) for n in (y, x, y_next, x_next))
    down, right = beside(down[:, None], source), beside(right, source)
    array = xp.empty((volume.shape[0], *grid.shape[1:]), dtype=xp.float32, device=source.device)
    for slab in slabs(array):
        planes = source[slab]
        rows = planes[:, y] * (1 - down) + planes[:, y_next] * down
        array[slab] = rows[:, :, x] * (1 - right) + rows[:, :, x_next] * right
    z_step, z_first = volume.spacing_mm[0], volume.origin_mm[0]
    return Volume(array, (z_step, *grid.spacing_mm[1:]), (z_first, *grid.origin_mm[1:]))


def slabs(array: Values) -> list[slice]:
    """The slices of an array as few at a time as stay in the processor's cache. On a card all at once."""
    step = 1 if module_of(array) is np else max(1, array.shape[0])
    return [slice(z, min(z + step, array.shape[0])) for z in range(0, array.shape[0], step)]


def neighbours(volume: Volume, grid: Grid, axis: int) -> tuple[Array, Array]:
    """For each point of `grid` along `axis` the voxel before it, and how far it lies on the way to the next, 0 to 1."""
    mm = grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.shape[axis])
    place = np.clip((mm - volume.origin_mm[axis]) / volume.spacing_mm[axis], 0, volume.shape[axis] - 1)
    before = place.astype(int)
    return before, (place - before).astype(np.float32)


def block_mean(volume: Volume, factor: Shape) -> Volume:
    """Mean over blocks of `factor` voxels (z, y, x). A last, incomplete block is left out."""
    shape, xp = [n // f for n, f in zip(volume.shape, factor, strict=True)], module_of(volume.array)
    array = xp.empty(tuple(shape), dtype=xp.float32, device=volume.array.device)
    for slab in slabs(array):
        part = volume.array[slab.start * factor[0] : slab.stop * factor[0]]
        for axis, f in enumerate(factor):
            part = strided_sum(part, axis, f) if f > 1 else part
        array[slab] = part
    array /= float(np.prod(factor))
    spacing = tuple(s * f for s, f in zip(volume.spacing_mm, factor, strict=True))
    origin = tuple(o + s * (f - 1) / 2 for o, s, f in zip(volume.origin_mm, volume.spacing_mm, factor, strict=True))
    return Volume(array, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))


def strided_sum(array: Values, axis: int, factor: int) -> Values:
    """Sums of `factor` neighbours along `axis`, float32: strided views added up, five times as fast as reduceat."""
    stop = array.shape[axis] // factor * factor
    index = [slice(None)] * 3
    index[axis] = slice(0, stop, factor)
    total = float_copy(array[tuple(index)])
    for k in range(1, factor):
        index[axis] = slice(k, stop, factor)
        total += array[tuple(index)]
    return total


def box_on(ct: Grid, volume: Volume) -> Box:
    """The box of the grid `ct` that holds every voxel of `volume`, edges included, cut at the grid's edge."""
    start, stop = [], []
    for axis in range(3):
        first, step = volume.origin_mm[axis], volume.spacing_mm[axis]
        last = first + step * (volume.shape[axis] - 1)
        low = np.floor((first - step / 2 - ct.origin_mm[axis]) / ct.spacing_mm[axis])
        high = np.ceil((last + step / 2 - ct.origin_mm[axis]) / ct.spacing_mm[axis])
        start.append(int(min(max(low, 0), ct.shape[axis] - 1)))
        stop.append(int(min(max(high + 1, start[-1] + 1), ct.shape[axis])))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def part_of(grid: Grid, box: Box) -> Grid:
    """The part of `grid` inside `box`."""
    origin = [o + s * b for o, s, b in zip(grid.origin_mm, grid.spacing_mm, box.start, strict=True)]
    return Grid(box.shape, grid.spacing_mm, (origin[0], origin[1], origin[2]))
