"""One slice with its contours as a PNG, for pages without script. Written with zlib alone: plotting libraries weigh."""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.errors import NotShown
from rtseg_daemon.web.viewer.cuts import Geometry

WINDOW_HU = (-160.0, 240.0)
"""Soft tissue: level 40, width 400."""
LEVEL = 6

Roi = dict[str, Any]


def organ_picture(rois: Sequence[Roi], name: str, geometry: Geometry, slice_of: Callable[[int], bytes]) -> bytes:
    """The worst slice of the ROI of this name, with every ROI's contours on it. Raises NotShown where it has none."""
    wanted = next((roi for roi in rois if roi["name"] == name and roi["contours"]), None)
    if wanted is None:
        raise NotShown("this structure set has no contours of that name", 404)
    k = worst_slice(wanted, geometry)
    _, rows, columns = geometry.shape
    hu = np.frombuffer(slice_of(k), "<i2").reshape(rows, columns)
    picture = grey(hu)
    for roi in rois:
        for contour in roi["contours"]:
            if nearest_slice(contour["z"], geometry) == k:
                draw(picture, pixels_of(contour["points"], geometry), roi["colour"])
    return png(picture)


def worst_slice(roi: Roi, geometry: Geometry) -> int:
    """Index of the slice where an ROI's members disagree most, within `slices=` if its line says so.

    Without any entropy it is the middle of `slices=`, or of the ROI.
    """
    low, high = roi["slices"] or (1, len(geometry.z_mm))
    doubts = [(mean, nearest_slice(z, geometry)) for z, mean in roi["doubts"]]
    within = [(mean, k) for mean, k in doubts if k is not None and low - 1 <= k <= high - 1]
    if within:
        return max(within, key=lambda one: one[0])[1]
    if roi["slices"]:
        return min((low + high) // 2 - 1, len(geometry.z_mm) - 1)
    drawn = [k for one in roi["contours"] if (k := nearest_slice(one["z"], geometry)) is not None]
    return sorted(drawn)[len(drawn) // 2] if drawn else 0


def nearest_slice(z: float, geometry: Geometry) -> int | None:
    """Index of the slice on which a contour lies, or None where it lies on none."""
    off = np.abs(np.asarray(geometry.z_mm) - z)
    k = int(off.argmin())
    return k if off[k] <= geometry.spacing_mm[0] / 2 else None


def grey(hu: Array) -> Array:
    """HU as RGB `(rows, columns, 3)` in the soft tissue window."""
    low, high = WINDOW_HU
    shade = np.clip((hu.astype(np.float32) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    return np.repeat(shade[:, :, None], 3, axis=2)


def pixels_of(points: Sequence[float], geometry: Geometry) -> Array:
    """x, y, x, y ... in mm as (column, row) of the slice, closed."""
    found = np.asarray(points, np.float64).reshape(-1, 2)
    pixel = (found - (geometry.origin_mm[2], geometry.origin_mm[1])) / (geometry.spacing_mm[2], geometry.spacing_mm[1])
    return np.concatenate([pixel, pixel[:1]])


def draw(picture: Array, line: Array, colour: Sequence[int]) -> None:
    """A line through these (column, row) points, one pixel wide, as far as it lies in the picture."""
    ends = np.abs(np.diff(line, axis=0)).max(axis=1)
    for start, stop, length in zip(line[:-1], line[1:], ends, strict=True):
        steps = np.linspace(0.0, 1.0, int(min(length, 4096)) + 2)[:, None]
        column, row = np.rint(start + (stop - start) * steps).astype(np.int64).T
        inside = (column >= 0) & (row >= 0) & (column < picture.shape[1]) & (row < picture.shape[0])
        picture[row[inside], column[inside]] = colour


def png(picture: Array) -> bytes:
    """RGB `(rows, columns, 3)` uint8 as a PNG file (ISO/IEC 15948)."""
    rows, columns, _ = picture.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), picture.reshape(rows, -1)], axis=1)
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), LEVEL)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
