"""RT Structure Sets of others: from any planning system's contours to masks on the CT's grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Volume, bounding_box
from rtseg_daemon.ct.series import CtSeries
from rtseg_daemon.dicom.files import read_dataset, text, value_of, whole
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError, StructureSetError
from rtseg_daemon.rtstruct.fill import enclosed

FLAT_MM = 0.01
"""A contour whose z varies by more is not axial; contours closer than this lie in one plane."""

OFF_MM = 0.1
"""A contour farther than this from its slice was not drawn on it."""

NOT_AXIAL = "a contour is not axial"

NESTED = 0.9
"""Share of a contour's voxels that lie in the ROI already, from which on it is taken for the outline of a hole."""


@dataclass(frozen=True)
class Structure:
    """One ROI as it stands in a file.

    Args:
        name: ROIName, whatever it holds.
        number: ROINumber.
        interpreted_type: RTROIInterpretedType, empty if not given.
        frame_uid: frame of reference, empty if not given.
        contours: CLOSED_PLANAR contours, each (n, 3) patient x, y, z in mm.
        images: SOP instances that the contours refer to.
        fault: why the ROI has no usable contours; empty if it has.
        partly: how many contours were left out beside the usable ones, and why; empty if none.
        oblique: how many contours were left out because they are not axial.
    """

    name: str
    number: int
    interpreted_type: str
    frame_uid: str
    contours: tuple[Array, ...]
    images: frozenset[str]
    fault: str = ""
    partly: str = ""
    oblique: int = 0


@dataclass(frozen=True)
class Raster:
    """An ROI's mask `(z, y, x)` and what the slices did to its contours.

    Args:
        lost: contours that lie on no slice, or beside others that lie nearer to the same slice.
        moved: contours that count for a slice more than OFF_MM away.
    """

    mask: Array
    lost: int
    moved: int

    def oddities(self, contours: int) -> list[str]:
        """What a person should know of it, as parts of a sentence."""
        said = []
        if self.lost:
            said.append(f"{self.lost} of {contours} contours lie on no slice")
        if self.moved:
            said.append(f"{self.moved} of {contours} contours lie beside their slice and were taken for it")
        return said


def read_structures(path: Path) -> list[Structure]:
    """All ROIs of the RT Structure Set at `path`; raises StructureSetError if the file is none or is broken."""
    try:
        dataset = read_dataset(path, pixels=False, headless=True)
    except SeriesError as error:
        raise StructureSetError(str(error)) from error
    try:
        with quiet():
            return structures_of(dataset, path.name)
    except StructureSetError:
        raise
    except Exception as error:  # sequences are parsed on access, and a stranger's bytes may raise anything there
        raise StructureSetError(f"{path.name} is a broken structure set ({type(error).__name__})") from error


def structures_of(dataset: Dataset, name: str) -> list[Structure]:
    """All ROIs of a parsed structure set called `name` in messages."""
    if text(dataset, "SOPClassUID") != RTStructureSetStorage and text(dataset, "Modality") != "RTSTRUCT":
        raise StructureSetError(f"{name} is no RT Structure Set")
    rois = value_of(dataset, "StructureSetROISequence") or []
    if not rois:
        raise StructureSetError(f"{name} has no ROIs (StructureSetROISequence is missing or empty)")
    drawn: dict[int, list[Dataset]] = {}
    for item in value_of(dataset, "ROIContourSequence") or []:
        drawn.setdefault(whole(item, "ReferencedROINumber") or 0, []).extend(value_of(item, "ContourSequence") or [])
    types = {
        whole(item, "ReferencedROINumber"): text(item, "RTROIInterpretedType")
        for item in value_of(dataset, "RTROIObservationsSequence") or []
    }
    numbers = [whole(roi, "ROINumber") or 0 for roi in rois]
    return [
        structure_of(roi, drawn.get(number, []), types.get(number, ""))
        for roi, number in zip(rois, numbers, strict=True)
    ]


def structure_of(roi: Dataset, contours: Sequence[Dataset], interpreted_type: str) -> Structure:
    """One ROI with its closed contours; anything else drawn in it is left out, with the reason if nothing remains."""
    kept: list[Array] = []
    images: set[str] = set()
    faults: list[str] = []
    for contour in contours:
        kind = text(contour, "ContourGeometricType")
        if kind not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
            faults.append(f"it is drawn as {kind or 'contours without a type'}")
            continue
        points = points_of(contour)
        if fault := points_fault(points):
            faults.append(fault)
            continue
        kept.append(points)
        images |= {text(image, "ReferencedSOPInstanceUID") for image in value_of(contour, "ContourImageSequence") or []}
    reasons = "; ".join(sorted(set(faults)))
    return Structure(
        name=text(roi, "ROIName"),
        number=whole(roi, "ROINumber") or 0,
        interpreted_type=interpreted_type,
        frame_uid=text(roi, "ReferencedFrameOfReferenceUID"),
        contours=tuple(kept),
        images=frozenset(images),
        fault="" if kept else reasons or "it has no contours",
        partly=f"{len(faults)} of {len(contours)} contours left out: {reasons}" if kept and faults else "",
        oblique=faults.count(NOT_AXIAL),
    )


def points_of(contour: Dataset) -> Array:
    """ContourData as (n, 3); empty where it holds anything but triplets of finite numbers."""
    element = contour.get_item("ContourData") if "ContourData" in contour else None
    raw = element.value if element is not None else b""
    line = raw.decode("ascii", "replace") if isinstance(raw, bytes) else "\\".join(map(str, raw or []))
    try:
        values = np.array([float(part) for part in line.strip(" \0").split("\\")])
    except ValueError:
        return np.empty((0, 3))
    if values.size % 3 or not np.isfinite(values).all():
        return np.empty((0, 3))
    return values.reshape(-1, 3)


def points_fault(points: Array) -> str:
    if len(points) < 3:
        return "a contour has fewer than three points or no numbers"
    return NOT_AXIAL if float(np.ptp(points[:, 2])) > FLAT_MM else ""


def structures_on(series: CtSeries, structures: Sequence[Structure]) -> tuple[list[Organ], list[str]]:
    """Masks of the ROIs on the CT's grid, and a line for each ROI that has none or not all of its contours.

    An ROI belongs to the CT if it lies in its frame of reference or, where it names none, if its contours refer to the
    CT's images; raises StructureSetError if none does: it is another patient's or another scan's.
    """
    own = {one.sop_instance_uid for one in series.instances}
    frame_uid = str(series.header.get("FrameOfReferenceUID", ""))
    fitting = [s for s in structures if (s.frame_uid == frame_uid if s.frame_uid else bool(s.images & own))]
    if not fitting:
        raise StructureSetError(
            "no ROI lies in the CT's frame of reference or refers to its images; is it of another scan?"
        )
    notes = [f"{s.name!r} left out: it lies in another frame of reference" for s in structures if s not in fitting]
    organs = []
    for structure in fitting:
        raster = rasterised(structure.contours, series.volume, series.slice_z_mm)
        said = [structure.fault, structure.partly, *raster.oddities(len(structure.contours))]
        if any(said):
            notes.append(f"{structure.name!r}: {'; '.join(filter(None, said))}")
        organs.append(boxed(structure.name, raster.mask, series.volume))
    return organs, notes


def rasterised(contours: Sequence[Array], volume: Volume, slice_z_mm: Sequence[float]) -> Raster:
    """The voxels whose centres lie in the contours.

    A contour counts for the nearest slice, up to half a slice distance away; where contours of several planes come to
    one slice, those of the nearest plane are its own. A contour within another of the same plane outlines a hole (or
    an island in a hole); contours that overlap in part are united. Planning systems write both keyholes and nested
    contours under CLOSED_PLANAR.
    """
    mask = np.zeros(volume.shape, bool)
    slices: dict[int, list[Array]] = {}
    z = np.asarray(slice_z_mm)
    for points in contours:
        k = int(np.abs(z - points[0, 2]).argmin())
        if abs(z[k] - points[0, 2]) <= volume.spacing_mm[0] / 2 + FLAT_MM:
            slices.setdefault(k, []).append(points)
    used = moved = 0
    for k, near in slices.items():
        plane_mm = min((float(points[0, 2]) for points in near), key=lambda own: (abs(own - z[k]), own))
        drawn = [points for points in near if abs(float(points[0, 2]) - plane_mm) <= FLAT_MM]
        for points in sorted(drawn, key=bounding_area, reverse=True):
            add_polygon(mask[k], points, volume)
        used += len(drawn)
        moved += len(drawn) if abs(plane_mm - z[k]) > OFF_MM else 0
    return Raster(mask, len(contours) - used, moved)


def bounding_area(points: Array) -> float:
    """Area of the box around a contour, in mm2."""
    return float(np.prod(np.ptp(points[:, :2], axis=0)))


def add_polygon(plane: Array, points: Array, volume: Volume) -> None:
    """Fill one contour into a slice `(y, x)`; clear it instead where it lies in what is filled already."""
    row = (points[:, 1] - volume.origin_mm[1]) / volume.spacing_mm[1]
    column = (points[:, 0] - volume.origin_mm[2]) / volume.spacing_mm[2]
    rows, columns, inside = enclosed(row, column, (plane.shape[0], plane.shape[1]))
    part = plane[rows, columns]
    part[inside] = not (inside.any() and part[inside].mean() >= NESTED)


def boxed(name: str, mask: Array, volume: Volume) -> Organ:
    """The organ of a mask `(z, y, x)` on the grid of `volume`, cut to its bounding box; without a box if empty."""
    box = bounding_box(mask)
    if box is None:
        return Organ(name, None, None, None, 0.0)
    cut = mask[box.slices].copy()
    return Organ(name, box, cut, None, float(cut.sum()) * volume.voxel_ml)
