"""What a structure set that came back says of itself. It is a stranger's file: nothing in it is relied on yet."""

import mmap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom import Dataset

from rtseg_daemon.dicom.files import data_set_start, read_dataset, text, value_of
from rtseg_daemon.dicom.person import Person, person_of
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.dicom.scan import ScanError, scan
from rtseg_daemon.errors import SeriesError, StructureSetError
from rtseg_daemon.ledger.states import Approval
from rtseg_daemon.rtstruct.reading import Structure, structures_of

MOST_ELEMENTS = 20_000_000
"""Of a structure set of some hundred MB: an element has eight bytes at least."""

MOST_ROIS = 2000


@dataclass(frozen=True)
class Said:
    """What the file says.

    Args:
        series: SeriesInstanceUIDs that it names as drawn on.
        frames: frames of reference that it names.
        listed: SOP Instance UIDs that it lists for these series.
        drawn: SOP Instance UID to how many contours refer to it.
        loose: how many contours refer to no image.
        approval: UNAPPROVED where it says nothing.
        made_at, approved_at: date and time as they stand there, by a clock that may be years off.
        structures: its ROIs.
    """

    sop_instance_uid: str
    series_uid: str
    study_uid: str
    patient_id: str = field(repr=False)
    series: frozenset[str]
    frames: frozenset[str]
    listed: frozenset[str]
    drawn: Counter[str]
    loose: int
    approval: Approval
    made_at: str
    approved_at: str
    label: str = field(repr=False)
    structures: tuple[Structure, ...]
    header: Dataset = field(repr=False)

    def person(self, salt: str) -> Person:
        """Whose it is, in digests that compare with those of this salt."""
        return person_of(self.header, salt)


def read_said(path: Path, largest_bytes: int) -> Said:
    """What the structure set at `path` says. Raises StructureSetError where it is none, or not whole, or too large."""
    try:
        whole(path)
        dataset = read_dataset(path, pixels=False, largest_bytes=largest_bytes)
        with quiet():
            return said_by(dataset)
    except SeriesError as error:
        raise StructureSetError(f"the file cannot be read: {str(error).removeprefix(path.name).strip()}") from error
    except ScanError as error:
        raise StructureSetError(f"the file is truncated or broken: {error}; send it again") from error
    except (StructureSetError, OSError, MemoryError):
        raise
    except Exception as error:  # sequences are parsed on access, and a stranger's bytes may raise anything there
        raise StructureSetError(f"the file is a broken structure set ({type(error).__name__})") from error


def whole(path: Path) -> None:
    """Raise ScanError unless the data set adds up to its end: pydicom takes one that is cut off for a shorter one."""
    meta = pydicom.filereader.read_file_meta_info(path)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        memoryview(mapped) as view,
        view[data_set_start(meta) :] as data,
    ):
        scan(data, str(meta.TransferSyntaxUID), (), MOST_ELEMENTS)


def said_by(dataset: Dataset) -> Said:
    """What a parsed structure set says. Raises StructureSetError where it is none."""
    rois = value_of(dataset, "StructureSetROISequence") or []
    if len(rois) > MOST_ROIS:
        raise StructureSetError(f"it has {len(rois)} ROIs, more than the {MOST_ROIS} that are looked at")
    structures = tuple(structures_of(dataset, "it"))
    series, frames, listed = referred(dataset)
    drawn = Counter(image for one in structures for images in one.drawn_on for image in images)
    return Said(
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        patient_id=text(dataset, "PatientID").strip(),
        series=series,
        frames=frames | ({one.frame_uid for one in structures} - {""}),
        listed=listed,
        drawn=drawn,
        loose=sum(not images for one in structures for images in one.drawn_on),
        approval=approval_of(text(dataset, "ApprovalStatus")),
        made_at=moment(dataset, "StructureSetDate", "StructureSetTime"),
        approved_at=moment(dataset, "ReviewDate", "ReviewTime"),
        label=text(dataset, "StructureSetLabel"),
        structures=structures,
        header=dataset,
    )


def referred(dataset: Dataset) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Series, frames of reference and images that a structure set names (PS3.3 C.8.8.5)."""
    series, frames, images = set(), {text(dataset, "FrameOfReferenceUID")}, set()
    for frame in value_of(dataset, "ReferencedFrameOfReferenceSequence") or []:
        frames.add(text(frame, "FrameOfReferenceUID"))
        for study in value_of(frame, "RTReferencedStudySequence") or []:
            for item in value_of(study, "RTReferencedSeriesSequence") or []:
                series.add(text(item, "SeriesInstanceUID"))
                found = value_of(item, "ContourImageSequence") or []
                images |= {text(image, "ReferencedSOPInstanceUID") for image in found}
    return frozenset(series - {""}), frozenset(frames - {""}), frozenset(images - {""})


def approval_of(stated: str) -> Approval:
    """ApprovalStatus as it counts (PS3.3 C.8.8.16)."""
    known = stated.strip().upper()
    return Approval(known) if known in (Approval.APPROVED, Approval.REJECTED) else Approval.UNAPPROVED


def moment(dataset: Dataset, date: str, time: str) -> str:
    """`20261127 153846`, or what is there of it."""
    return f"{text(dataset, date)} {text(dataset, time)}".strip()
