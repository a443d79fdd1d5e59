"""A scalar volume on an axis-aligned grid in DICOM patient coordinates."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtseg_daemon.anatomy.arrays import Values, module_of, on_host

Array = NDArray[Any]
Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Volume:
    """Voxels `(z, y, x)` whose indices grow towards the patient's superior, posterior and left.

    These are the axes of the DICOM patient coordinate system (PS3.3 C.7.6.2.1.1) in reverse order, so one image
    looks the same whatever the position in which the patient was scanned and the order in which it was stored.

    Args:
        array: values, shape `(z, y, x)`, HU for a CT.
        spacing_mm: distance of neighbouring voxel centres along (z, y, x).
        origin_mm: patient coordinates (z, y, x) of the centre of voxel [0, 0, 0].
    """

    array: Array
    spacing_mm: Triple
    origin_mm: Triple

    @property
    def shape(self) -> Shape:
        z, y, x = self.array.shape
        return z, y, x

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        z, y, x = self.spacing_mm
        return z * y * x / 1000.0

    def with_array(self, array: Array) -> "Volume":
        """Another array on the same grid. Raises ValueError if the shapes differ."""
        if array.shape != self.array.shape:
            raise ValueError(f"array of shape {array.shape} does not fit the grid {self.array.shape}")
        return replace(self, array=array)

    def crop(self, box: "Box") -> "Volume":
        """The part inside `box`, a view on the same memory."""
        origin = tuple(o + s * b for o, s, b in zip(self.origin_mm, self.spacing_mm, box.start, strict=True))
        return Volume(self.array[box.slices], self.spacing_mm, (origin[0], origin[1], origin[2]))


@dataclass(frozen=True)
class Box:
    """Index box `[start, stop)` along (z, y, x)."""

    start: Shape
    stop: Shape

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def shape(self) -> Shape:
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def grown(self, margin: int, shape: Shape) -> "Box":
        """This box with `margin` voxels more on every side, cut at a grid of `shape`."""
        start = [max(0, a - margin) for a in self.start]
        stop = [min(n, b + margin) for b, n in zip(self.stop, shape, strict=True)]
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def bounding_boxes(masks: Values) -> list[Box | None]:
    """For each of `masks` `(n, z, y, x)` the smallest box that holds its True voxels, or None if there is none."""
    xp = module_of(masks)
    planes = xp.any(masks, 3)
    profiles = on_host(xp.concatenate([xp.any(planes, 2), xp.any(planes, 1), xp.any(xp.any(masks, 1), 1)], 1))
    return [box_of(profile, masks.shape[1:3]) for profile in profiles]


def bounding_box(mask: Values) -> Box | None:
    """Smallest box that holds every True voxel of `mask` `(z, y, x)`, or None if there is none."""
    return bounding_boxes(mask[None])[0]


def box_of(profile: Array, sides: tuple[int, ...]) -> Box | None:
    """The box whose shadows along z, y and x stand in `profile` one after the other. `sides` are those of z and y."""
    hits = np.split(profile, np.cumsum(sides))
    ends = [np.flatnonzero(hit)[[0, -1]].tolist() for hit in hits if hit.any()]
    if len(ends) < 3:
        return None
    (z0, z1), (y0, y1), (x0, x1) = ends
    return Box((z0, y0, x0), (z1 + 1, y1 + 1, x1 + 1))


AIR_HU = -1000.0


@dataclass(frozen=True)
class Grid:
    """Where voxels lie, without their values: shape (z, y, x), spacing and origin in mm (z, y, x)."""

    shape: Shape
    spacing_mm: Triple
    origin_mm: Triple


def grid_of(volume: Volume) -> Grid:
    return Grid(volume.shape, volume.spacing_mm, volume.origin_mm)


def whole_hu(array: Array) -> Array:
    """HU as int16, rounded where they are not whole."""
    if array.dtype == np.int16:
        return array
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(array), limits.min, limits.max).astype(np.int16)
