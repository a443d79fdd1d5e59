"""One ROI in the three sequences of an RT Structure Set (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8)."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag

from rtseg_daemon.anatomy.called import ascii_line
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.series import CtImage
from rtseg_daemon.rtstruct.codes import LATERALITY, Anatomy, Colour
from rtseg_daemon.rtstruct.contour import Contour
from rtseg_daemon.rtstruct.copied import keep_bytes

CONTOUR_DATA = Tag(0x3006, 0x0050)


@dataclass(frozen=True)
class Roi:
    """One ROI as it is written. `contours` is empty where none are sent, `derived_by` None where no bundle drew it."""

    number: int
    name: str
    comment: str
    colour: Colour
    anatomy: Anatomy
    volume_ml: float
    contours: Sequence[Contour]
    algorithm: str = "AUTOMATIC"
    derived_by: Dataset | None = None


def roi_item(roi: Roi, frame_uid: str) -> Dataset:
    item = Dataset()
    item.ROINumber = roi.number
    item.ReferencedFrameOfReferenceUID = frame_uid
    item.ROIName = roi.name
    if roi.comment:
        item.ROIDescription = ascii_line(roi.comment, 1024)
    if roi.contours:
        item.ROIVolume = decimal(roi.volume_ml)
    item.ROIGenerationAlgorithm = roi.algorithm
    if roi.derived_by is not None:
        item.ROIDerivationAlgorithmIdentificationSequence = Items([roi.derived_by])
    return item


def contour_item(roi: Roi, instances: Sequence[CtImage], z_text: Sequence[str]) -> Dataset:
    item = Dataset()
    item.ROIDisplayColor = list(roi.colour)
    item.ReferencedROINumber = roi.number
    if roi.contours:
        references = {c.index: image_reference(instances[c.index]) for c in roi.contours}
        planes = [
            closed_plane(number, contour, references[contour.index], z_text[contour.index])
            for number, contour in enumerate(roi.contours, 1)
        ]
        item.ContourSequence = Items(planes)
    return item


def closed_plane(number: int, contour: Contour, reference: Dataset, z_text: str) -> Dataset:
    """One CLOSED_PLANAR contour. Its data are bytes already, since decimal strings are most of the file."""
    item = Dataset()
    item.ContourImageSequence = Items([reference])
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(contour.points_mm)
    item.ContourNumber = number
    data = contour_data(contour.points_mm, z_text)
    item[CONTOUR_DATA] = RawDataElement(CONTOUR_DATA, "DS", len(data), data, 0, True, True, True)
    keep_bytes(item)
    return item


def contour_data(points_mm: Array, z_text: str) -> bytes:
    r"""`x\y\z\x\y\z...` to a micrometre, padded to even length (PS3.5 6.2: DS has at most 16 characters)."""
    line = f"%.3f\\%.3f\\{z_text}\\" * len(points_mm) % tuple(points_mm.ravel().tolist())
    data = line[:-1].encode("ascii")
    return data + b" " * (len(data) % 2)


def observation(roi: Roi) -> Dataset:
    item = Dataset()
    item.ObservationNumber = roi.number
    item.ReferencedROINumber = roi.number
    item.ROIObservationLabel = roi.name
    if roi.comment:
        item.ROIObservationDescription = ascii_line(roi.comment, 1024)
    add_codes(item, roi.anatomy)
    item.RTROIInterpretedType = roi.anatomy.interpreted_type
    item.ROIInterpreter = None
    return item


def add_codes(item: Dataset, known: Anatomy) -> None:
    """Which organ it is: SNOMED CT as the anatomic region, FMA as identification (what Eclipse reads), and the side.

    PS3.3 C.8.8.8 with table 10-7b, laterality from CID 244.
    """
    side = LATERALITY.get(known.side)
    if known.snomed:
        region = code(known.snomed[0], "SCT", known.snomed[1])
        if side:
            region.AnatomicRegionModifierSequence = Items([code(side[0], "SCT", side[1])])
        item.AnatomicRegionSequence = Items([region])
    if known.fma:
        identification = code(known.fma[0], "FMA", known.fma[1])
        if side:
            identification.SegmentedPropertyTypeModifierCodeSequence = Items([code(side[0], "SCT", side[1])])
        item.RTROIIdentificationCodeSequence = Items([identification])


def image_reference(instance: CtImage) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class_uid
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    return item


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def decimal(value: float) -> str:
    """A number as DS: as exact as 16 characters allow."""
    for digits in range(15, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"
