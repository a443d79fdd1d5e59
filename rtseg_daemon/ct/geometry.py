"""Where the voxels of a CT lie and which image each slice is, as JSON: what is left of it when its files are gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from rtseg_daemon.anatomy.volume import Grid, Volume, grid_of
from rtseg_daemon.ct.headers import read_header, split_images
from rtseg_daemon.ct.preconditions import sorted_positions
from rtseg_daemon.ct.series import CtSeries, grid_of_slices
from rtseg_daemon.ct.stacks import z_of
from rtseg_daemon.dicom.files import read_dataset, text
from rtseg_daemon.dicom.person import Person, person_of
from rtseg_daemon.errors import SeriesError

DIRECTIONS = ["superior", "posterior", "left"]
"""Where z, y and x grow, of every CT here (see `anatomy.volume.Volume`)."""


@dataclass(frozen=True)
class Geometry:
    """A CT without its voxels.

    Args:
        grid: shape, spacing and origin `(z, y, x)`.
        slice_z_mm: patient z of each slice, as its own file says it.
        sop_instance_uids: of each slice, inferior to superior.
        person: whose it is, with the series' UID as salt.
        scanner: manufacturer and model.
    """

    grid: Grid
    slice_z_mm: tuple[float, ...]
    sop_instance_uids: tuple[str, ...]
    series_uid: str
    study_uid: str
    frame_uid: str
    person: Person
    scanner: str = ""

    def volume(self) -> Volume:
        """An empty volume on this grid, which takes no memory."""
        nothing = np.broadcast_to(np.zeros((), bool), self.grid.shape)
        return Volume(nothing, self.grid.spacing_mm, self.grid.origin_mm)

    def document(self) -> dict[str, Any]:
        """As JSON. Shape, spacing and origin stand as `(z, y, x)`, in mm."""
        return {
            "shape": list(self.grid.shape),
            "spacing": list(self.grid.spacing_mm),
            "origin": list(self.grid.origin_mm),
            "directions": DIRECTIONS,
            "z": list(self.slice_z_mm),
            "sop_instance_uids": list(self.sop_instance_uids),
            "series": self.series_uid,
            "study": self.study_uid,
            "frame": self.frame_uid,
            "person": self.person.document(),
            "scanner": self.scanner,
        }

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> "Geometry":
        """From that JSON."""
        (z, y, x), spacing, origin = document["shape"], document["spacing"], document["origin"]
        return cls(
            Grid((z, y, x), (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2])),
            tuple(document["z"]),
            tuple(document["sop_instance_uids"]),
            document["series"],
            document["study"],
            document["frame"],
            Person.of_document(document["person"]),
            document["scanner"],
        )


def geometry_of(series: CtSeries) -> Geometry:
    """The geometry of a CT that was read."""
    uids = tuple(one.sop_instance_uid for one in series.instances)
    return _geometry(grid_of(series.volume), tuple(series.slice_z_mm), uids, series.header)


def geometry_of_files(paths: Sequence[Path]) -> Geometry:
    """The geometry of the CT in these files, whose pixels are not read. Raises SeriesError where they are none."""
    headers = split_images([read_header(path) for path in paths])[0]
    slices = sorted_positions(headers)
    if len(slices) < 2 or any(None in (one.orientation, one.position_mm, one.pixel_spacing_mm) for one in slices):
        raise SeriesError("the images do not say where their slices lie")
    uids = tuple(one.sop_instance_uid for one in slices)
    header = read_dataset(slices[0].path, pixels=False)
    return _geometry(grid_of_slices(slices), tuple(map(z_of, slices)), uids, header)


def _geometry(grid: Grid, slice_z_mm: tuple[float, ...], uids: tuple[str, ...], header: Dataset) -> Geometry:
    series_uid = text(header, "SeriesInstanceUID")
    return Geometry(
        grid,
        slice_z_mm,
        uids,
        series_uid,
        text(header, "StudyInstanceUID"),
        text(header, "FrameOfReferenceUID"),
        person_of(header, series_uid),
        f"{text(header, 'Manufacturer')} {text(header, 'ManufacturerModelName')}".strip(),
    )
