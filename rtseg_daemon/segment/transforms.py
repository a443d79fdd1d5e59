"""What happens to a CT before a network sees it, and the way back to the CT's grid."""

from collections.abc import Sequence

import cc3d
import numpy as np
import SimpleITK as sitk

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Box, Grid, Shape, Triple, Volume, bounding_box

SLF_LEVELS = (0.0, 0.2, 0.8, 1.0)
"""Output levels of the segmental linear functions (seed paper, Eq. 1 as corrected)."""

KNOTS_HU: dict[str, tuple[float, ...]] = {
    "SLF1": (-500, -200, 200, 1500),
    "SLF2": (-500, -100, 100, 1500),
    "SLF3": (-500, -100, 400, 1500),
    "NLF1": (-100, 100),
    "NLF2": (-500, 800),
}
"""Knots h_1..h_K in HU of the paper's three SLFs and of the two naive linear functions it compares them with."""


GTV_KNOTS_HU = (-200.0, 700.0)
GTV_MEAN_HU, GTV_SD_HU = 66.0, 199.0
"""Mean and standard deviation of HU clipped to GTV_KNOTS_HU inside the bodies of OpenKBP's training patients.

The GTV paper (seed 002, 3.1) normalises "by the mean value and mean standard deviation". Constants of the data set and
not of the image: those of a patch, a window and a whole scan differ with the share of air in each, and one tissue would
look different to the network in training and in use.
"""


def intensity_knots(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots in HU and their output levels for SLF1-3, NLF1-2 and GTV; raises KeyError for another name."""
    if name == "GTV":
        return GTV_KNOTS_HU, tuple((hu - GTV_MEAN_HU) / GTV_SD_HU for hu in GTV_KNOTS_HU)
    knots = KNOTS_HU[name]
    return knots, SLF_LEVELS if len(knots) == 4 else (0.0, 1.0)


def segmental_linear(hu: Array, knots: Sequence[float], levels: Sequence[float]) -> Array:
    """SLF: piecewise linear from HU to levels through (knots, levels), constant outside (seed paper, Eq. 1)."""
    return np.interp(hu, knots, levels).astype(np.float32)


def body_mask(volume: Volume, threshold_hu: float = -350.0) -> Array:
    """True inside the patient, False in air, couch and mask frame.

    The patient is the largest object above `threshold_hu` once bridges thinner than 12 mm are cut, and every other
    object that lies mostly inside its bounds in the axial plane (CTs that were cut to a treated region fall apart into
    islands); a couch lies outside them. Holes are filled slice by slice, so airways and lungs count as body.
    """
    solid = volume.array > threshold_hu
    body = np.zeros(volume.shape, bool)
    if (box := bounding_box(solid)) is not None:
        body[box.slices] = patient_in(solid[box.slices], volume.spacing_mm)
    return body


def patient_in(solid: Array, spacing_mm: Triple) -> Array:
    """The part of `solid` `(z, y, x)`, cut to what is not air, that is the patient; see `body_mask`."""
    side = [2 * max(1, round(6.0 / s)) + 1 for s in spacing_mm[1:]]
    core = largest_object(dilated(eroded(solid, side), side))
    box = bounding_box(core)
    if box is None:
        return np.zeros_like(solid)
    body = dilated(core, side) & solid
    rest = cc3d.connected_components(solid & ~body, connectivity=26)
    inside = np.zeros_like(solid)
    margin = [round(10.0 / s) for s in spacing_mm[1:]]
    inside[
        :, max(0, box.start[1] - margin[0]) : box.stop[1], max(0, box.start[2] - margin[1]) : box.stop[2] + margin[1]
    ] = True
    counts = np.bincount(rest.ravel())
    kept = np.bincount(rest[inside].ravel(), minlength=counts.size) > 0.8 * counts
    kept[0] = False
    body |= kept[rest]
    return filled(body)


def dilated(mask: Array, side: Sequence[int]) -> Array:
    """Dilation of a mask by a rectangle of `side` (y, x) voxels, odd, slice by slice: an OR of shifted views."""
    for axis, size in zip((1, 2), side, strict=True):
        n, half = mask.shape[axis], size // 2
        grown = mask.copy()
        for k in range(1, min(half, n - 1) + 1):
            low, high = along(axis, slice(0, n - k)), along(axis, slice(k, n))
            grown[low] |= mask[high]
            grown[high] |= mask[low]
        mask = grown
    return mask


def eroded(mask: Array, side: Sequence[int]) -> Array:
    """Erosion of a mask by a rectangle of `side` (y, x) voxels, odd, slice by slice; beyond the image is background."""
    (_, y, x), (up, left) = mask.shape, (size // 2 for size in side)
    outside = dilated(np.pad(~mask, ((0, 0), (up, up), (left, left)), constant_values=True), side)
    return ~outside[:, up : up + y, left : left + x]


def along(axis: int, part: slice) -> tuple[slice, ...]:
    """`part` of one axis of a volume, and the whole of the others."""
    return tuple(part if a == axis else slice(None) for a in range(3))


def filled(mask: Array) -> Array:
    """The mask with its holes filled slice by slice: what is not joined, by sides of voxels, to a slice's edge.

    All slices lie in one image, each in a frame of background, so that the outside of all is one object.
    """
    framed = np.pad(~mask, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    z, y, x = framed.shape
    labels = cc3d.connected_components(framed.reshape(z * y, x), connectivity=4).reshape(z, y, x)
    return np.asarray(labels[:, 1:-1, 1:-1] != labels[0, 0, 0])


def largest_object(mask: Array) -> Array:
    """The largest 6-connected part of `mask` `(z, y, x)`; all False if the mask is empty."""
    labels = cc3d.connected_components(mask, connectivity=6)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return np.asarray(labels == int(counts.argmax())) if counts.max() > 0 else np.zeros_like(mask)


def centre_box(mask: Array, spacing_mm: Triple, extent_mm: Triple) -> Box:
    """Box around a body `mask` `(z, y, x)`, at most `extent_mm` wide, centred where the patient is.

    Along x it is centred on the patient's midline, taken from the narrower half of the slices: head and neck, since
    shoulders may reach past the field of view on one side. Along y it starts at the front. Along z it keeps the top,
    from which the organs of the head and neck hang.
    """
    box = bounding_box(mask)
    if box is None:
        raise ValueError("the mask is empty")
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    spans = np.array([np.flatnonzero(mask[z].any(axis=0))[[0, -1]] for z in rows])
    widths = spans[:, 1] - spans[:, 0]
    narrow = spans[widths <= np.median(widths)]
    midline = float(np.median(narrow.mean(axis=1))) + 0.5
    size = [max(1, round(e / s)) for e, s in zip(extent_mm, spacing_mm, strict=True)]
    z1 = box.stop[0]
    z0 = max(box.start[0], z1 - size[0])
    y0 = box.start[1]
    y1 = min(box.stop[1], y0 + size[1])
    x0 = max(box.start[2], int(np.floor(midline - size[2] / 2)))
    x1 = min(box.stop[2], x0 + size[2])
    return Box((z0, y0, x0), (z1, y1, x1))


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
