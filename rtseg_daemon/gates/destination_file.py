"""The gate before sending: a destination's own file holds the judged contours, under the names it asked for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset

from rtseg_daemon.anatomy.called import contradiction
from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.rtstruct.names import names_of_rois
from rtseg_daemon.rtstruct.renamed import marks_of, owners_of, ring_numbers

WrittenContour = tuple[str, bytes, tuple[str, ...]]
"""Geometric type, points as they stand in the file, and the images that are referred to."""

KEPT = (
    "PatientID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ReferencedFrameOfReferenceSequence",
)
"""What a destination's file has in common with the one that was judged, to the byte."""


def deviations(judged: Path, path: Path, destination: DestinationPeer) -> list[str]:
    """Reasons against sending the file at `path` to the destination, or none if it is right.

    `judged` is the structure set that the gates let pass: what has its contours has its sides.
    """
    first, second = pydicom.dcmread(judged), pydicom.dcmread(path)
    reasons = [
        f"{keyword} is not that of the judged file" for keyword in KEPT if first.get(keyword) != second.get(keyword)
    ]
    expected = expected_rois(first, destination)
    written = {str(roi.ROIName): int(roi.ROINumber) for roi in second.StructureSetROISequence}
    if len(written) < len(second.StructureSetROISequence):
        reasons.append("two ROIs have one name")
    for name, (organ, number) in expected.items():
        reasons += roi_reasons(name, organ, contours_of(first, number), second, written.get(name))
    if destination.review_colour:
        reasons += unpainted(first, second, expected, destination.review_colour)
    return reasons + [f"{name}: the configuration names no ROI so" for name in sorted(written.keys() - expected.keys())]


def altered(judged: Path, path: Path) -> list[str]:
    """Reasons against a file that is to hold every ROI of the judged one as it was, but for what is said of it."""
    first, second = pydicom.dcmread(judged), pydicom.dcmread(path)
    reasons = [f"{word} is not that of the judged file" for word in KEPT if first.get(word) != second.get(word)]
    before, after = rois_of(first), rois_of(second)
    return reasons + [
        f"ROI {number} is not that of the judged file" for number in before if before[number] != after.get(number)
    ]


def rois_of(dataset: Dataset) -> dict[int, tuple[str, list[WrittenContour]]]:
    """Number, name and contours of every ROI."""
    numbers = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    return {number: (name, contours_of(dataset, number)) for number, name in numbers.items()}


def expected_rois(judged: Dataset, destination: DestinationPeer) -> dict[str, tuple[str, int]]:
    """The names that the configuration gives, each with its organ and the number of its ROI in the judged file."""
    owners, rings = owners_of(judged), ring_numbers(judged)
    wanted = [n for n, organ in owners.items() if not destination.only or organ in destination.only]
    organs, around = [n for n in wanted if n not in rings], [n for n in wanted if n in rings]
    marks = marks_of(judged) if destination.flag_in_name else {}
    names = names_of_rois([owners[n] for n in organs], [owners[n] for n in around], destination.roi_names, marks)
    return {name: (owners[n], n) for name, n in zip(names, [*organs, *around], strict=True)}


def unpainted(
    judged: Dataset, written: Dataset, expected: Mapping[str, tuple[str, int]], colour: Sequence[int]
) -> Iterator[str]:
    """A reason for each organ that is drawn, not OK, and not in the colour for such."""
    marks, rings = marks_of(judged), ring_numbers(judged)
    due = {number for organ, number in expected.values() if organ in marks and number not in rings}
    for item in written.get("ROIContourSequence") or []:
        number = int(item.ReferencedROINumber)
        if number in due and list(item.get("ROIDisplayColor") or []) != list(colour):
            yield f"ROI {number} is not OK, and not in the destination's review_colour"


def roi_reasons(
    name: str, organ: str, judged: list[WrittenContour], dataset: Dataset, number: int | None
) -> Iterator[str]:
    """Reasons against one ROI of the destination's file. `number` is None where there is none of that name."""
    if wrong := contradiction(organ, name):
        yield wrong
    if number is None:
        yield f"{name}: the file has no such ROI"
    elif contours_of(dataset, number) != judged:
        yield f"{name}: its contours are not those of {organ}"


def contours_of(dataset: Dataset, number: int) -> list[WrittenContour]:
    """The contours of a ROI, in the file's order."""
    return [
        contour_in(contour)
        for item in dataset.get("ROIContourSequence") or []
        if int(item.ReferencedROINumber) == number
        for contour in item.get("ContourSequence") or []
    ]


def contour_in(item: Dataset) -> WrittenContour:
    """One contour. Its points are compared as text, which is not parsed."""
    raw = item.get_item("ContourData").value
    points = raw if isinstance(raw, bytes) else "\\".join(map(str, raw)).encode()
    images = tuple(str(image.ReferencedSOPInstanceUID) for image in item.get("ContourImageSequence") or [])
    return str(item.get("ContourGeometricType")), points.strip(b" \0"), images
