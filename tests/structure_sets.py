"""Organs, bundles and structure sets for tests, and Debian's strict checker."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import generate_uid

from rtseg_daemon.anatomy.organ import Flag, Organ, Uncertainty
from rtseg_daemon.anatomy.volume import Volume, bounding_box
from rtseg_daemon.bundles import Bundle, OrganClass
from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from tests.synthetic import sample_volume, write_series

SHARED = Path(__file__).parents[1].parent / "shared"
"""Public data beside the checkout, where there are any."""


def patients(*parts: str) -> Path:
    """A folder of the data beside the checkout; skips the test where it is not there."""
    folder = SHARED.joinpath("data", *parts)
    if not folder.exists():
        pytest.skip(f"no data in {'/'.join(parts)} beside the checkout")
    return folder


def debian(name: str) -> str:
    """Path of a Debian program; skips the test where it is missing, unless RTSEG_REQUIRE_PEERS=1."""
    path = Path("/usr/bin") / name
    if not path.exists() and shutil.which(name) is None:
        message = f"{name} is not installed (Debian: dcmtk, plastimatch, dicom3tools)"
        if os.environ.get("RTSEG_REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return str(path)


def dciodvfy_errors(path: Path) -> list[str]:
    """Errors that dicom3tools' dciodvfy finds in a file."""
    done = subprocess.run([debian("dciodvfy"), str(path)], capture_output=True, text=True, errors="replace", timeout=60)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def tiny_bundle(*names: str, **changes: Any) -> Bundle:
    """A bundle of the organs `names`, without files."""
    fields: dict[str, Any] = {
        "format": 1, "name": "han-oar", "version": "1.2.3", "intended_use": "evaluation", "description": "for tests",
        "family": "sepnet", "arguments": {}, "classes": [OrganClass(name=name) for name in names], "members": [],
        "spacing_mm": (3.0, 2.0, 2.0), "window": (16, 24, 24), "extent_mm": (400.0, 300.0, 250.0),
    }  # fmt: skip
    bundle = Bundle(**(fields | changes))
    bundle._digest = "c0ffee" + "0" * 58
    return bundle


def organ_of(name: str, mask: NDArray[np.bool_], volume: Volume, margin: Any = None, **facts: Any) -> Organ:
    """The organ of a mask on the whole grid, cut to a box two voxels wider than itself."""
    box = bounding_box(mask)
    if box is None:
        return Organ(name, None, None, None, 0.0, **facts)
    box = box.grown(2, volume.shape)
    part = None if margin is None else margin[box.slices]
    return Organ(name, box, mask[box.slices], part, float(mask.sum()) * volume.voxel_ml, **facts)


def by_a_person(dataset: Dataset, approval: str = "APPROVED") -> None:
    """Change a structure set of ours into one that a person drew in a planning system."""
    dataset.Manufacturer, dataset.ManufacturerModelName = "Some Vendor", "Some Planning System"
    dataset.ApprovalStatus = approval
    for roi in dataset.StructureSetROISequence:
        roi.ROIGenerationAlgorithm = "MANUAL"
        roi.ROIDescription = ""


def ball(volume: Volume, centre: tuple[float, float, float], radius: float) -> Any:
    """Signed margin of a ball: `centre` (z, y, x) and `radius` in voxels; positive inside."""
    z, y, x = np.indices(volume.shape)
    distance = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
    return np.tanh((radius - distance) / 2).astype(np.float32)


def sample_organs(volume: Volume) -> list[Organ]:
    """Four organs: a ball with a margin, a ring, one rejected, one not found."""
    margin = ball(volume, (3, 9, 22), 5.3)
    z, y, x = np.indices(volume.shape)
    ring = ((y - 12) ** 2 + (x - 10) ** 2 < 64) & ((y - 12) ** 2 + (x - 10) ** 2 > 12) & (z > 0)
    return [
        organ_of("Parotid_L", margin > 0, volume, margin, uncertainty=Uncertainty(0.1, 0.2, 0.8, 0.3, 0.1)),
        organ_of("Brainstem", ring, volume, flag=Flag.REVIEW, predicted_dice=0.78, reasons=("members disagree",)),
        organ_of("Lens_L", margin > 0.6, volume, margin - 0.6, flag=Flag.REJECT, reasons=("too large",)),
        organ_of("Lens_R", margin > 2, volume, flag=Flag.REVIEW, reasons=("not found",)),
    ]


class Case:
    """A series on disk and the structure set of its organs, written and ready to be looked at."""

    def __init__(self, folder: Path, position: str = "HFS", **series: Any) -> None:
        self.volume = sample_volume()
        self.ct = folder / "ct"
        self.paths = write_series(self.ct, self.volume, position, **series)
        self.series: CtSeries = load_series(self.paths)
        self.organs = sample_organs(self.series.volume)
        self.bundle = tiny_bundle(*(organ.name for organ in self.organs))
        self.path = folder / "rs.dcm"
        self.notes: list[str] = []

    def write(self, **options: Any) -> Dataset:
        """Build and write the structure set; returns the data set that was built."""
        identity = derive_identity(self.series, self.bundle.digest, 1)
        dataset = build_rtstruct(self.series, self.organs, [self.bundle], identity, notes=self.notes, **options)
        write_dataset(dataset, self.path)
        return dataset


def case_with_rings(folder: Path) -> Case:
    """Organs, and rings around the first two."""
    case = Case(folder)
    case.write(rings=case.organs[:2])
    return case


def destination(**wishes: Any) -> DestinationPeer:
    """A planning system that nobody calls."""
    return DestinationPeer(name="tps", ae_title="TPS", host="127.0.0.1", port=104, **wishes)


def approved(ours: Dataset) -> Dataset:
    """What a person saved: one organ renamed, one moved by 5 mm to the left, approved."""
    by_a_person(ours)
    ours.SOPInstanceUID = ours.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
    ours.SeriesInstanceUID = generate_uid(prefix=None)
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in ours.StructureSetROISequence}
    for roi in ours.StructureSetROISequence:
        roi.ROIName = {"Brainstem": "Hirnstamm"}.get(str(roi.ROIName), roi.ROIName)
    for item in ours.ROIContourSequence:
        for contour in item.get("ContourSequence", []) if names[int(item.ReferencedROINumber)] == "SpinalCord" else []:
            points = [float(value) for value in contour.ContourData]
            contour.ContourData = [f"{v + 5.0:.2f}" if k % 3 == 0 else f"{v:.2f}" for k, v in enumerate(points)]
    return ours
