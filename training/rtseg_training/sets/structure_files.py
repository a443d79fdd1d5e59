"""The structure sets of a tree: read from strangers' files, and to which CT each belongs."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage

from rtseg_daemon.dicom.files import read_dataset, same_text, text, value_of
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError, StructureSetError
from rtseg_daemon.rtstruct.reading import Structure, structures_of
from rtseg_training.sets.patients import Person
from rtseg_training.sets.report import ImportReport
from rtseg_training.sets.truth import Origin, approval_of

NO_DICOM = (".gz", ".nii", ".csv", ".md", ".json")


@dataclass(frozen=True)
class StructureFile:
    """A structure set: its file, where it comes from, whose it is, the CT series and frames that it names."""

    path: Path
    origin: Origin
    person: Person
    series: frozenset[str]
    frames: frozenset[str]
    structures: tuple[Structure, ...]

    @property
    def called(self) -> str:
        """What the report calls the file."""
        return self.origin.called


@dataclass(frozen=True)
class Target:
    """A CT as far as contours are asked whether they were drawn on it.

    Args:
        images: SOP instances of its series.
        frame_uid: its frame of reference, empty if it has none.
        alone: whether no other CT series here lies in this frame of reference.
    """

    series_uid: str
    images: frozenset[str]
    frame_uid: str
    alone: bool


def referenced(dataset: Dataset) -> tuple[frozenset[str], frozenset[str]]:
    """Series and frames of reference that a structure set names (PS3.3 C.8.8.5, ReferencedFrameOfReferenceSequence)."""
    series, frames = set(), set()
    for frame in value_of(dataset, "ReferencedFrameOfReferenceSequence") or []:
        frames.add(text(frame, "FrameOfReferenceUID"))
        for study in value_of(frame, "RTReferencedStudySequence") or []:
            for item in value_of(study, "RTReferencedSeriesSequence") or []:
                series.add(text(item, "SeriesInstanceUID"))
    return frozenset(series - {""}), frozenset(frames - {""})


def read_structure_file(path: Path, called: str) -> StructureFile | None:
    """A structure set with its ROIs, or None for another file. Raises StructureSetError if it is broken."""
    try:
        kind = read_dataset(path, pixels=False, keywords=("SOPClassUID", "Modality"), headless=True)
    except SeriesError:
        kind = Dataset()
    known = text(kind, "SOPClassUID"), text(kind, "Modality")
    if not any(known) and path.suffix.lower() == ".dcm":
        raise StructureSetError(f"{called} cannot be read as DICOM; export it again")
    if known[0] != RTStructureSetStorage and known[1] != "RTSTRUCT":
        return None
    try:
        with quiet():
            dataset = read_dataset(path, pixels=False, headless=True)
            series, frames = referenced(dataset)
            structures = tuple(structures_of(dataset, called))
            return StructureFile(path, origin_of(dataset, called), person_of(dataset), series, frames, structures)
    except StructureSetError:
        raise
    except Exception as error:  # sequences are parsed on access, and a stranger's bytes may raise anything there
        raise StructureSetError(f"{called} is a broken structure set; export it again") from error


def origin_of(dataset: Dataset, called: str) -> Origin:
    """What the set says of itself."""
    return Origin(
        called=called,
        approval=approval_of(text(dataset, "ApprovalStatus")),
        made_by=f"{text(dataset, 'Manufacturer')} {text(dataset, 'ManufacturerModelName')}",
        written=text(dataset, "StructureSetDate") + text(dataset, "StructureSetTime"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
    )


def person_of(dataset: Dataset) -> Person:
    """Whose a data set is."""
    return Person(*(same_text(dataset, keyword) for keyword in ("PatientID", "PatientName", "PatientBirthDate")))


def find_structures(root: Path, report: ImportReport) -> list[StructureFile]:
    """Every structure set below `root` once, oldest first. The report has those that are broken or lie there twice."""
    found: dict[str, StructureFile] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in NO_DICOM):
        try:
            one = read_structure_file(path, report.called(path))
        except StructureSetError as error:
            report.left_out.append(str(error))
            continue
        if one is None:
            continue
        first = found.setdefault(one.origin.sop_instance_uid or str(path), one)
        if first is not one:
            report.notes.append(twice(first, one))
            if newer(one, first):
                found[one.origin.sop_instance_uid] = one
    return sorted(found.values(), key=lambda one: one.origin.written)


def twice(first: StructureFile, second: StructureFile) -> str:
    """A sentence on two files of one structure set."""
    same = first.path.read_bytes() == second.path.read_bytes()
    how = "the same bytes" if same else "they differ; one that is REJECTED was taken, else approved, else newer"
    return f"{first.called} and {second.called} are one structure set by their SOPInstanceUID: {how}"


def newer(one: StructureFile, other: StructureFile) -> bool:
    """Whether `one` stands before `other`: REJECTED stands whatever else was written, then approved, then newer."""
    return order(one.origin) > order(other.origin)


def order(origin: Origin) -> tuple[int, str]:
    return ("UNAPPROVED", "APPROVED", "REJECTED").index(origin.approval), origin.written


def belongs(one: StructureFile, ct: Target) -> bool:
    """Whether a structure set may be drawn on this CT: it names the series, else the frame of reference.

    What its single contours say is asked later (see `drawn_here`).
    """
    if one.series:
        return ct.series_uid in one.series
    return bool(ct.frame_uid) and (
        ct.frame_uid in one.frames or any(s.frame_uid == ct.frame_uid for s in one.structures)
    )
