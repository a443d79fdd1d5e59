"""What happens to a CT before a network sees it, and the way back to the CT's grid."""

import numpy as np
import SimpleITK as sitk

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Box, Grid, Shape, Triple, Volume


def to_image(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (which counts axes x, y, z)."""
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing([float(s) for s in reversed(volume.spacing_mm)])
    image.SetOrigin([float(o) for o in reversed(volume.origin_mm)])
    return image


def spaced_grid(volume: Volume, spacing_mm: Triple) -> Grid:
    """The grid of `spacing_mm` that covers the same extent, voxel edges aligned at the first corner."""
    shape, origin = [], []
    for n, old, new, start in zip(volume.shape, volume.spacing_mm, spacing_mm, volume.origin_mm, strict=True):
        shape.append(max(1, round(n * old / new)))
        origin.append(start - old / 2 + new / 2)
    return Grid((shape[0], shape[1], shape[2]), spacing_mm, (origin[0], origin[1], origin[2]))


def resample(volume: Volume, grid: Grid, fill: float = AIR_HU, sampled: bool = False) -> Volume:
    """Linear interpolation onto `grid`, float32; outside the volume `fill`, beside sampled slices their edge's values.

    Where the new voxel holds two or more old ones along an axis, blocks of old ones are averaged first, so that
    noise is not sampled but averaged. With `sampled`, slices alone are averaged, and pixels are not: for
    networks that learned from CTs whose large pixels are samples of small ones, as sharp and as noisy as those.
    """
    factor = [max(1, int(new / old + 1e-3)) for old, new in zip(volume.spacing_mm, grid.spacing_mm, strict=True)]
    if sampled and max(factor[1:]) > 1:
        volume, factor = sampled_slices(volume, grid), [factor[0], 1, 1]
    source = block_mean(volume, (factor[0], factor[1], factor[2])) if max(factor) > 1 else volume
    same = source.shape == grid.shape and np.allclose(source.spacing_mm, grid.spacing_mm, rtol=0, atol=1e-4)
    if same and np.allclose(source.origin_mm, grid.origin_mm, rtol=0, atol=1e-3):
        return Volume(source.array.astype(np.float32, copy=False), grid.spacing_mm, grid.origin_mm)
    return interpolate(source, grid, fill)


def interpolate(volume: Volume, grid: Grid, fill: float = AIR_HU) -> Volume:
    """Linear interpolation at the points of `grid`, float32; the edge voxel's value holds to its outer edge."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(grid.shape)])
    resampler.SetOutputSpacing([float(s) for s in reversed(grid.spacing_mm)])
    resampler.SetOutputOrigin([float(o) for o in reversed(grid.origin_mm)])
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(float(fill))
    image = to_image(volume.with_array(volume.array.astype(np.float32, copy=False)))
    return Volume(sitk.GetArrayFromImage(resampler.Execute(image)), grid.spacing_mm, grid.origin_mm)


def sampled_slices(volume: Volume, grid: Grid) -> Volume:
    """Each slice interpolated linearly at the pixel centres of `grid`, float32; beyond the outermost centres their
    values hold. Only the rows that are needed are read."""
    (y, down), (x, right) = (neighbours(volume, grid, axis) for axis in (1, 2))
    array = np.empty((volume.shape[0], grid.shape[1], grid.shape[2]), np.float32)
    for z, plane in enumerate(volume.array):
        rows = plane[y] * (1 - down[:, None]) + plane[np.minimum(y + 1, len(plane) - 1)] * down[:, None]
        array[z] = rows[:, x] * (1 - right) + rows[:, np.minimum(x + 1, rows.shape[1] - 1)] * right
    z_step, z_first = volume.spacing_mm[0], volume.origin_mm[0]
    return Volume(array, (z_step, *grid.spacing_mm[1:]), (z_first, *grid.origin_mm[1:]))


def neighbours(volume: Volume, grid: Grid, axis: int) -> tuple[Array, Array]:
    """For each point of `grid` along `axis` the voxel before it, and how far it lies on the way to the next, 0 to 1."""
    mm = grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.shape[axis])
    place = np.clip((mm - volume.origin_mm[axis]) / volume.spacing_mm[axis], 0, volume.shape[axis] - 1)
    before = place.astype(int)
    return before, (place - before).astype(np.float32)


def block_mean(volume: Volume, factor: Shape) -> Volume:
    """Mean over blocks of `factor` voxels (z, y, x); a last, incomplete block is left out."""
    array = np.empty([n // f for n, f in zip(volume.shape, factor, strict=True)], np.float32)
    for z in range(array.shape[0]):  # some slices at a time stay in the processor's cache
        part = volume.array[z * factor[0] : (z + 1) * factor[0]]
        for axis, f in enumerate(factor):
            part = strided_sum(part, axis, f) if f > 1 else part
        array[z] = part[0]
    array /= np.float32(np.prod(factor))
    spacing = tuple(s * f for s, f in zip(volume.spacing_mm, factor, strict=True))
    origin = tuple(o + s * (f - 1) / 2 for o, s, f in zip(volume.origin_mm, volume.spacing_mm, factor, strict=True))
    return Volume(array, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))


def strided_sum(array: Array, axis: int, factor: int) -> Array:
    """Sums of `factor` neighbours along `axis`, float32: strided views added up, five times as fast as reduceat."""
    stop = array.shape[axis] // factor * factor
    index = [slice(None)] * 3
    index[axis] = slice(0, stop, factor)
    total = array[tuple(index)].astype(np.float32)
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
