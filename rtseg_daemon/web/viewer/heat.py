"""Where the members disagree, as the viewer lays it over the CT: the stored entropy map on its own grid."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.segment.entropy_map import STEP_NATS

LARGEST_BYTES = 64 * 2**20
"""Voxels of a map. The file is our own, and still bounded before it is unpacked."""


def map_of(path: Path) -> Volume | None:
    """The steps of `path` in nats `(z, y, x)`, or None where there is no such map or it cannot be read."""
    found = steps_of(path)
    return None if found is None else found.with_array(found.array * np.float32(STEP_NATS))


def steps_of(path: Path) -> Volume | None:
    """The map as it is stored, uint8 `(z, y, x)` in steps of 0.01 nats, or None where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(one.file_size for one in archive.infolist()) > LARGEST_BYTES:
                return None
        with np.load(path) as data:
            spacing, origin = data["spacing_mm"].tolist(), data["origin_mm"].tolist()
            steps: Array = data["steps"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    if steps.dtype != np.uint8 or steps.ndim != 3 or len(spacing) != 3 or len(origin) != 3:
        return None
    return Volume(steps, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))


def geometry_of(steps: Volume) -> dict[str, Any]:
    """What a browser must know to lay a map over a CT."""
    return {
        "shape": steps.shape,
        "spacing_mm": steps.spacing_mm,
        "origin_mm": steps.origin_mm,
        "step_nats": STEP_NATS,
    }
