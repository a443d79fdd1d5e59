"""RT Structure Sets of others: from any planning system's contours to masks on the CT's grid."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Volume, bounding_box
from rtseg_daemon.ct.series import CtSeries
from rtseg_daemon.dicom.files import integer, numbers, read_dataset, text, value_of
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError, StructureSetError
from rtseg_daemon.rtstruct.raster import Raster, rasterised

NEVER_FLAT_MM = 0.5
"""A contour whose z varies by more is not axial, whatever the slice distance."""

NOT_AXIAL = "a contour is not axial"


@dataclass(frozen=True)
class Structure:
    """One ROI as it stands in a file.

    Args:
        name: ROIName, whatever it holds.
        number: ROINumber.
        interpreted_type: RTROIInterpretedType, empty if not given.
        frame_uid: frame of reference, empty if not given.
        contours: CLOSED_PLANAR contours, each (n, 3) patient x, y, z in mm.
        drawn_on: for each contour the SOP instances that it refers to.
        fault: why the ROI has no usable contours, empty if it has.
        partly: how many contours were left out beside the usable ones, and why, empty if none.
        oblique: how many contours were left out because they are not axial.
        description: ROIDescription, empty if not given.
        colour: ROIDisplayColor, red, green and blue from 0 to 255, or None if not given.
        generation: ROIGenerationAlgorithm in capitals: AUTOMATIC, SEMIAUTOMATIC, MANUAL, or empty.
    """

    name: str
    number: int
    interpreted_type: str
    frame_uid: str
    contours: tuple[Array, ...]
    drawn_on: tuple[frozenset[str], ...]
    fault: str = ""
    partly: str = ""
    oblique: int = 0
    description: str = ""
    colour: tuple[int, int, int] | None = None
    generation: str = ""

    @property
    def images(self) -> frozenset[str]:
        """SOP instances that the contours refer to."""
        return frozenset().union(*self.drawn_on)

    def on(self, images: Set[str] | None) -> "Structure":
        """This ROI with the contours alone that refer to one of these images or to none, without any if None."""
        kept = [k for k, drawn in enumerate(self.drawn_on) if images is not None and (not drawn or drawn & images)]
        return replace(
            self,
            contours=tuple(self.contours[k] for k in kept),
            drawn_on=tuple(self.drawn_on[k] for k in kept),
        )


def read_structures(path: Path) -> list[Structure]:
    """All ROIs of the RT Structure Set at `path`. Raises StructureSetError if the file is none or is broken."""
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
        drawn.setdefault(integer(item, "ReferencedROINumber") or 0, []).extend(value_of(item, "ContourSequence") or [])
    types = {
        integer(item, "ReferencedROINumber"): text(item, "RTROIInterpretedType")
        for item in value_of(dataset, "RTROIObservationsSequence") or []
    }
    colours = {
        integer(item, "ReferencedROINumber"): colour_of(item) for item in value_of(dataset, "ROIContourSequence") or []
    }
    numbered = [(roi, integer(roi, "ROINumber") or 0) for roi in rois]
    return [
        replace(structure_of(roi, drawn.get(number, []), types.get(number, "")), colour=colours.get(number))
        for roi, number in numbered
    ]


def colour_of(item: Dataset) -> tuple[int, int, int] | None:
    """ROIDisplayColor of an item of ROIContourSequence, or None where it is no colour."""
    shades = [int(shade) for shade in numbers(item, "ROIDisplayColor") if 0 <= shade <= 255]
    return (shades[0], shades[1], shades[2]) if len(shades) == 3 else None


def structure_of(roi: Dataset, contours: Sequence[Dataset], interpreted_type: str) -> Structure:
    """One ROI with its closed contours. Anything else drawn in it is left out, with the reason if nothing remains."""
    kept: list[Array] = []
    drawn_on: list[frozenset[str]] = []
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
        images = value_of(contour, "ContourImageSequence") or []
        drawn_on.append(frozenset(text(image, "ReferencedSOPInstanceUID") for image in images) - {""})
    reasons = "; ".join(sorted(set(faults)))
    return Structure(
        name=text(roi, "ROIName"),
        number=integer(roi, "ROINumber") or 0,
        interpreted_type=interpreted_type,
        frame_uid=text(roi, "ReferencedFrameOfReferenceUID"),
        contours=tuple(kept),
        drawn_on=tuple(drawn_on),
        fault="" if kept else reasons or "it has no contours",
        partly=f"{len(faults)} of {len(contours)} contours left out: {reasons}" if kept and faults else "",
        oblique=faults.count(NOT_AXIAL),
        description=text(roi, "ROIDescription"),
        generation=text(roi, "ROIGenerationAlgorithm").upper(),
    )


def points_of(contour: Dataset) -> Array:
    """ContourData as (n, 3), empty where it holds anything but triplets of finite numbers."""
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
    return NOT_AXIAL if float(np.ptp(points[:, 2])) > NEVER_FLAT_MM else ""


def structures_on(series: CtSeries, structures: Sequence[Structure]) -> tuple[list[Organ], list[str]]:
    """Masks of the ROIs on the CT's grid, and a line for each ROI that has none or not all of its contours.

    An ROI belongs to the CT if it lies in its frame of reference or, where it names none, if its contours refer to the
    CT's images. Raises StructureSetError if none does: it is another patient's or another scan's.
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
        raster = rasterised_on(series, structure)
        said = [structure.fault, structure.partly, *raster.oddities(len(structure.contours))]
        if structure.images and not structure.images & own:
            said.append("its contours were drawn on images of another series")
        if any(said):
            notes.append(f"{structure.name!r}: {'; '.join(filter(None, said))}")
        organs.append(boxed(structure.name, raster.mask, series.volume))
    return organs, notes


def rasterised_on(series: CtSeries, structure: Structure) -> Raster:
    """`rasterised` on a CT, whose images say to which slice a contour that refers to one of them belongs."""
    number = {one.sop_instance_uid: k for k, one in enumerate(series.instances)}
    stated = [{number[uid] for uid in drawn if uid in number} for drawn in structure.drawn_on]
    slices = [found.pop() if len(found) == 1 else None for found in stated]
    return rasterised(structure.contours, series.volume, series.slice_z_mm, slices)


def boxed(name: str, mask: Array, volume: Volume) -> Organ:
    """The organ of a mask `(z, y, x)` on the grid of `volume`, cut to its bounding box, without a box if empty."""
    box = bounding_box(mask)
    if box is None:
        return Organ(name, None, None, None, 0.0)
    cut = mask[box.slices].copy()
    return Organ(name, box, cut, None, float(cut.sum()) * volume.voxel_ml)
