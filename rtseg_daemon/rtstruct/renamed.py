"""The structure set as one destination wants it: other ROI names, other colours, flags in them, or only some organs."""

import hashlib
import io
import json
from collections.abc import Mapping, Set
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import UID

from rtseg_daemon.anatomy.called import LONGEST_NAME, ascii_line
from rtseg_daemon.anatomy.organ import Flag
from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.names import MARKS, names_of_rois
from rtseg_daemon.storage import write_durably


def for_destination(rtstruct: Path, destination: DestinationPeer) -> Path:
    """`rtstruct` itself, or a copy beside it with the destination's names, colours, marks and selection.

    The copy is another object, so it has a SOP Instance UID of its own, derived from the first and from what was
    changed: made again before every attempt, it is the same object. The copy's predecessor is that of this destination.
    Raises StructureSetError where `only` leaves nothing.
    """
    changes = changes_for(destination)
    if not changes:
        return rtstruct
    copy = rtstruct.with_name(f"RTSTRUCT-{hashlib.sha256(changes.encode()).hexdigest()[:16]}.dcm")
    dataset = dcmread(rtstruct)
    adapt(dataset, destination)
    if not dataset.StructureSetROISequence:
        raise StructureSetError(f"destination {destination.name} wants `only` organs that this structure set lacks")
    uid = derived_uid(str(dataset.SOPInstanceUID), changes)
    dataset.SOPInstanceUID = uid
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    for older in dataset.get("PredecessorStructureSetSequence") or []:
        older.ReferencedSOPInstanceUID = derived_uid(str(older.ReferencedSOPInstanceUID), changes)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    write_durably(copy, buffer.getvalue())
    return copy


def changes_for(destination: DestinationPeer) -> str:
    """What a destination wants otherwise, as one text, empty if nothing. UIDs depend on it."""
    wishes = (destination.roi_names, destination.colours, destination.only)
    lists: list[object] = [sorted(wish.items()) if isinstance(wish, dict) else sorted(wish) for wish in wishes]
    flags = {"flag_in_name": destination.flag_in_name, "review_colour": destination.review_colour}
    shown = {key: value for key, value in flags.items() if value}
    if not any(wishes) and not shown:
        return ""
    return json.dumps([*lists, shown] if shown else lists)  # without flags as ever: a UID that was sent must not change


def derived_uid(*parts: str) -> UID:
    """A UID under 2.25 (PS3.5, B.2) that depends on `parts` and nothing else."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def adapt(dataset: Dataset, destination: DestinationPeer) -> None:
    """Drop the ROIs that are not in `only` (when it names any), rename and paint the rest, in place.

    A ring goes with its organ: it is left out with it and follows its name, but keeps its colour.
    """
    marks = marks_of(dataset)
    wanted = set(destination.only)
    owners = owners_of(dataset)
    numbers = {number for number, organ in owners.items() if not wanted or organ in wanted}
    sequences = {
        "StructureSetROISequence": "ROINumber",
        "ROIContourSequence": "ReferencedROINumber",
        "RTROIObservationsSequence": "ReferencedROINumber",
    }
    for keyword, number in sequences.items():
        items = dataset.get(keyword, [])
        setattr(dataset, keyword, [item for item in items if int(getattr(item, number)) in numbers])
    rings = ring_numbers(dataset)
    rename(dataset, owners, rings, destination.roi_names, marks if destination.flag_in_name else {})
    for item in dataset.get("ROIContourSequence", []):
        roi = int(item.ReferencedROINumber)
        colour = destination.colours.get(owners[roi])
        if owners[roi] in marks:
            colour = destination.review_colour or colour
        if roi not in rings and colour:
            item.ROIDisplayColor = list(colour)


def rename(
    dataset: Dataset, owners: Mapping[int, str], rings: Set[int], local: Mapping[str, str], marks: Mapping[str, str]
) -> None:
    """Give every ROI its `local` name and mark, and the observation of it the same label, in place."""
    numbers = [int(roi.ROINumber) for roi in dataset.StructureSetROISequence]
    organs = [owners[number] for number in numbers if number not in rings]
    around = [owners[number] for number in numbers if number in rings]
    names = dict(zip(numbers, names_of_rois(organs, around, local, marks), strict=True))
    for roi in dataset.StructureSetROISequence:
        roi.ROIName = names[int(roi.ROINumber)]
    for observation in dataset.get("RTROIObservationsSequence", []):
        observation.ROIObservationLabel = names[int(observation.ReferencedROINumber)]


def marks_of(dataset: Dataset) -> dict[str, str]:
    """Organ to mark, for what is drawn and not OK. An ROI without contours is a place to draw in, and has none."""
    drawn = {
        int(item.ReferencedROINumber) for item in dataset.get("ROIContourSequence", []) if "ContourSequence" in item
    }
    rings = ring_numbers(dataset)
    marks = {}
    for roi in dataset.StructureSetROISequence:
        word = str(roi.get("ROIDescription") or "").partition(" ")[0]
        if int(roi.ROINumber) in drawn - rings and word in (Flag.REVIEW, Flag.REJECT):
            marks[str(roi.ROIName)] = MARKS[Flag(word)]
    return marks


def ring_numbers(dataset: Dataset) -> set[int]:
    """Numbers of the ROIs that are rings. They stand after the organs."""
    observations = dataset.get("RTROIObservationsSequence", [])
    return {int(o.ReferencedROINumber) for o in observations if o.get("RTROIInterpretedType") == "CONTROL"}


def owners_of(dataset: Dataset) -> dict[int, str]:
    """ROI number to the organ's name, for organs and their rings (`z` and the organ's name)."""
    rings = ring_numbers(dataset)
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    organs = {ascii_line(f"z{name}", LONGEST_NAME): name for number, name in names.items() if number not in rings}
    return {number: organs.get(name, name[1:]) if number in rings else name for number, name in names.items()}
