"""Which images a structure set was made from, read from its references alone."""

from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from rtseg_daemon.anatomy.organ import RELEASED

READ = ("ReferencedFrameOfReferenceSequence", "StructureSetROISequence")


def images_of(rtstruct: Path) -> dict[str, frozenset[str]]:
    """SeriesInstanceUID to the SOP Instance UIDs of all its images that the structure set refers to.

    Empty for a file that cannot be read, and where a person let the series go: what was contoured then need not have
    been whole.
    """
    try:
        dataset = pydicom.dcmread(rtstruct, specific_tags=list(READ))
        if any(RELEASED in str(roi.get("ROIDescription", "")) for roi in dataset.StructureSetROISequence):
            return {}
        return {series: frozenset(images) for series, images in referred(dataset)}
    except (OSError, InvalidDicomError, AttributeError, ValueError):
        return {}


def referred(dataset: Dataset) -> list[tuple[str, list[str]]]:
    """Each referenced series with its images (PS3.3 C.8.8.5)."""
    return [
        (str(series.SeriesInstanceUID), [str(image.ReferencedSOPInstanceUID) for image in series.ContourImageSequence])
        for frame in dataset.ReferencedFrameOfReferenceSequence
        for study in frame.RTReferencedStudySequence
        for series in study.RTReferencedSeriesSequence
    ]
