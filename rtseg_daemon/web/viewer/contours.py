"""The contours of a structure set as the viewer draws them: the points of the file itself, never those of a mask."""

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.rtstruct.fill import enclosed
from rtseg_daemon.rtstruct.raster import plane_of
from rtseg_daemon.rtstruct.reading import Structure, read_structures
from rtseg_daemon.web.viewer.heat import map_of

DOUBTFUL = re.compile(r"\bslices=(\d+)-(\d+)\b")
BUNDLE = re.compile(r"\bbundle=(\S+)")
FLAGS = ("OK", "REVIEW", "REJECT")
GREY = (128, 128, 128)
LEVEL = 5


def written_contours(path: Path, entropy: Sequence[tuple[str, Path]]) -> bytes:
    """`contours_of` a file as compressed JSON. Raises StructureSetError if it is none."""
    maps = {name: found for name, file in entropy if (found := map_of(file)) is not None}
    rois = contours_of(read_structures(path), maps)
    return gzip.compress(json.dumps({"rois": rois}, separators=(",", ":")).encode(), LEVEL, mtime=0)


def contours_of(structures: Sequence[Structure], maps: dict[str, Volume]) -> list[dict[str, Any]]:
    """Each ROI: what its line says, and its closed contours as x, y, x, y ... in patient mm on a plane of z mm.

    `maps` are the bundles' entropies, on their own grids. With them each plane of an ROI has its mean entropy (nats).
    """
    return [contours_of_one(structure, maps) for structure in structures]


def contours_of_one(structure: Structure, maps: dict[str, Volume]) -> dict[str, Any]:
    """One ROI of a file."""
    flag = structure.description.split(" ", 1)[0]
    doubtful = DOUBTFUL.search(structure.description)
    planes: dict[float, list[Array]] = {}
    for points in structure.contours:
        planes.setdefault(round(plane_of(points), 3), []).append(points)
    return {
        "name": structure.name,
        "number": structure.number,
        "colour": structure.colour or GREY,
        "flag": flag if flag in FLAGS else "",
        "says": structure.description,
        "slices": [int(number) for number in doubtful.groups()] if doubtful else None,
        "fault": structure.fault or structure.partly,
        "contours": [
            {"z": z, "points": points[:, :2].round(3).ravel().tolist()} for z in sorted(planes) for points in planes[z]
        ],
        "doubts": doubts_of(planes, own_map(structure, maps)),
    }


def own_map(structure: Structure, maps: dict[str, Volume]) -> Volume | None:
    """The entropies of the bundle that the ROI is of: its line names it where there are several."""
    bundle = BUNDLE.search(structure.description)
    named = maps.get(bundle.group(1)) if bundle else None
    return named or next(iter(maps.values()), None)


def doubts_of(planes: dict[float, list[Array]], entropy: Volume | None) -> list[tuple[float, float]]:
    """(z, mean entropy inside the ROI) for each plane on which entropy is known, inferior to superior."""
    if entropy is None:
        return []
    means = ((z, mean_inside(planes[z], z, entropy)) for z in sorted(planes))
    return [(z, round(mean, 4)) for z, mean in means if mean is not None]


def mean_inside(contours: Sequence[Array], z: float, entropy: Volume) -> float | None:
    """Mean entropy at the voxels whose centres the contours of one plane enclose, or None where they enclose none."""
    place = (z - entropy.origin_mm[0]) / entropy.spacing_mm[0]
    if not -0.5 <= place <= entropy.shape[0] - 0.5:
        return None
    plane = entropy.array[int(np.clip(round(place), 0, entropy.shape[0] - 1))]
    inside = np.zeros(plane.shape, bool)
    for points in contours:
        row = (points[:, 1] - entropy.origin_mm[1]) / entropy.spacing_mm[1]
        column = (points[:, 0] - entropy.origin_mm[2]) / entropy.spacing_mm[2]
        rows, columns, part = enclosed(row, column, (plane.shape[0], plane.shape[1]))
        inside[rows, columns] ^= part
    return float(plane[inside].mean()) if inside.any() else None
