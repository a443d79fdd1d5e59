"""Where the patient is in a CT: the body without the couch, and the box around head and neck."""

from collections.abc import Sequence

import cc3d
import numpy as np

from rtseg_daemon.anatomy.volume import Array, Box, Triple, Volume, bounding_box


def body_mask(volume: Volume, threshold_hu: float = -350.0) -> Array:
    """True inside the patient, False in air, couch and mask frame.

    The patient is the largest object above `threshold_hu` once bridges thinner than 12 mm are cut, and every other
    object that lies mostly inside its bounds in the axial plane (CTs that were cut to a treated region fall apart into
    islands). A couch lies outside them. Holes are filled slice by slice, so airways and lungs count as body.
    """
    solid = volume.array > threshold_hu
    body = np.zeros(volume.shape, bool)
    if (box := bounding_box(solid)) is not None:
        body[box.slices] = patient_in(solid[box.slices], volume.spacing_mm)
    return body


def patient_in(solid: Array, spacing_mm: Triple) -> Array:
    """The part of `solid` `(z, y, x)`, cut to what is not air, that is the patient. See `body_mask`."""
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
    """Erosion of a mask by a rectangle of `side` (y, x) voxels, odd, slice by slice. Beyond the image is background."""
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
    """The largest 6-connected part of `mask` `(z, y, x)`, all False if the mask is empty."""
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
