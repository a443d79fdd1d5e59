"""Slices of a CT that lies in a file, in the three planes. Read piece by piece: a map would count as our memory."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Shape, Triple

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
MOST = 16
"""So many slices are read at once."""
PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Geometry:
    """Where the voxels lie: shape, spacing and origin along (z, y, x), and each slice's own z in mm."""

    shape: Shape
    spacing_mm: Triple
    origin_mm: Triple
    z_mm: tuple[float, ...]

    @staticmethod
    def said(answer: dict[str, Any]) -> "Geometry":
        """What a reader says."""
        (n, m, k), (dz, dy, dx), (z, y, x) = answer["shape"], answer["spacing_mm"], answer["origin_mm"]
        return Geometry((n, m, k), (dz, dy, dx), (z, y, x), tuple(answer["z_mm"]))

    @property
    def bytes(self) -> int:
        """Size of the CT as int16."""
        return 2 * int(np.prod(self.shape))

    def count(self, plane: Plane) -> int:
        """How many slices there are in a plane."""
        return self.shape[PLANES.index(plane)]

    def picture(self, plane: Plane) -> tuple[int, int]:
        """Rows and columns of a slice."""
        z, y, x = self.shape
        return {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}[plane]


def read_cuts(descriptor: int, geometry: Geometry, plane: Plane, first: int, count: int) -> Array:
    """`count` slices from index `first`, int16 `(count, rows, columns)`, as one looks at them.

    Rows run from anterior to posterior or from superior to inferior, columns from the patient's right to the left or
    from anterior to posterior.
    """
    z, y, x = geometry.shape
    if plane == "axial":
        return read_array(descriptor, 2 * first * y * x, (count, y, x))
    found = np.empty((count, z, x if plane == "coronal" else y), "<i2")
    if plane == "coronal":
        for k in range(z):
            found[:, z - 1 - k] = read_array(descriptor, 2 * (k * y + first) * x, (count, x))
        return found
    for start, part in pieces(descriptor, geometry):
        rows = part[:, :, first : first + count].transpose(2, 0, 1)
        found[:, z - start - len(part) : z - start] = rows[:, ::-1]
    return found


def pieces(descriptor: int, geometry: Geometry) -> Iterator[tuple[int, Array]]:
    """The whole CT, a few slices at a time: index of the first one, and `(slices, y, x)`."""
    z, y, x = geometry.shape
    step = max(1, PIECE_BYTES // (2 * y * x))
    for start in range(0, z, step):
        yield start, read_array(descriptor, 2 * start * y * x, (min(step, z - start), y, x))


def read_array(descriptor: int, offset: int, shape: tuple[int, ...], kind: str = "<i2") -> Array:
    """Values of a file, from a byte on. Raises OSError where it is too short."""
    size = np.dtype(kind).itemsize * int(np.prod(shape))
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        got = os.preadv(descriptor, [view[done:]], offset + done)
        if not got:
            raise OSError("a scratch file is shorter than it was")
        done += got
    return np.frombuffer(buffer, kind).reshape(shape)
