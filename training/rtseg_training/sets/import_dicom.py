"""Import of what departments have: a tree of DICOM CTs and the structure sets drawn on them, in any nesting.

Case names are digests of the CT's series UID: nothing of a patient gets into file names or reports but ROI names.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage
from scipy import ndimage

from rtseg_daemon.anatomy.called import NameTable
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.ct.series import CtSeries, series_of
from rtseg_daemon.dicom.files import read_dataset, text, value_of
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError, StructureSetError
from rtseg_daemon.rtstruct.reading import Structure, rasterised_on, structures_of
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, make_case
from rtseg_training.sets.import_images import chosen_images

MOST_SKIPPED = 3
"""Contours on every second or third slice are completed. Wider steps are left as drawn."""


@dataclass(frozen=True)
class StructureFile:
    """A structure set's file as the report calls it, when it was written, the CT series and frames that it names."""

    called: str
    written: str
    series: frozenset[str]
    frames: frozenset[str]
    structures: tuple[Structure, ...]


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


@dataclass
class ImportReport:
    """What became of the names and files of a tree.

    Args:
        mapped: ROI name to TG-263 name, with the number of cases.
        unmapped: ROI names the table does not know, with the number of cases.
        notes: sentences about single ROIs, one per case and ROI.
        left_out: sentences about cases and files that could not be used.
        files: what a file or folder is called in these sentences, to its path: paths often hold patients' names.
    """

    mapped: Counter[tuple[str, str]] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    def called(self, path: Path) -> str:
        """A name for `path` that says nothing of the patient."""
        alias = "file_" + hashlib.sha256(str(path).encode()).hexdigest()[:8]
        self.files[alias] = path
        return alias

    def told(self, line: str) -> str:
        """A sentence of the report with the real paths, for the person at the screen alone."""
        for alias, path in self.files.items():
            line = line.replace(alias, str(path))
        return line

    def markdown(self) -> str:
        """The report as tables."""
        lines = ["# Import", "", "| ROI name | TG-263 | cases |", "|---|---|---|"]
        lines += [f"| {raw} | {name} | {n} |" for (raw, name), n in sorted(self.mapped.items())]
        lines += ["", "## Not mapped", "", "| ROI name | cases |", "|---|---|"]
        lines += [f"| {raw} | {n} |" for raw, n in sorted(self.unmapped.items())]
        lines += ["", "## Notes", "", *(f"- {note}" for note in self.notes)]
        lines += ["", "## Left out", "", *(f"- {reason}" for reason in self.left_out)]
        return "\n".join(lines) + "\n"


def case_name(series_uid: str) -> str:
    """A name for the case that says nothing of the patient."""
    return "ct_" + hashlib.sha256(series_uid.encode()).hexdigest()[:12]


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
            written = text(dataset, "StructureSetDate") + text(dataset, "StructureSetTime")
            return StructureFile(called, written, series, frames, tuple(structures_of(dataset, called)))
    except StructureSetError:
        raise
    except Exception as error:  # sequences are parsed on access, and a stranger's bytes may raise anything there
        raise StructureSetError(f"{called} is a broken structure set; export it again") from error


def find_structures(root: Path, report: ImportReport) -> list[StructureFile]:
    """Every structure set below `root`, oldest first. Broken ones go into the report."""
    found = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        try:
            one = read_structure_file(path, report.called(path))
        except StructureSetError as error:
            report.left_out.append(str(error))
            continue
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda one: one.written)


def belongs(one: StructureFile, ct: Target) -> bool:
    """Whether a structure set may be drawn on this CT: it names the series, else the frame of reference.

    What its single contours say is asked later (see `drawn_here`).
    """
    if one.series:
        return ct.series_uid in one.series
    return bool(ct.frame_uid) and (
        ct.frame_uid in one.frames or any(s.frame_uid == ct.frame_uid for s in one.structures)
    )


def completed(mask: Array) -> tuple[Array, int]:
    """A mask `(z, y, x)` drawn on every second or third slice with the slices between, and how many were added.

    Only where that step is the rule: a single missing slice stays missing. Between two drawn slices the signed
    distance to their outlines is interpolated.
    """
    drawn = np.flatnonzero(mask.any(axis=(1, 2)))
    steps = np.diff(drawn)
    if steps.size < 2 or not 2 <= (step := int(np.median(steps))) <= MOST_SKIPPED or (steps == step).mean() < 0.6:
        return mask, 0
    out, added = mask.copy(), 0
    for low, high in itertools.pairwise(drawn.tolist()):
        if not 2 <= high - low <= MOST_SKIPPED:
            continue
        below, above = signed_distance(mask[low]), signed_distance(mask[high])
        for z in range(low + 1, high):
            share = (z - low) / (high - low)
            out[z] = (1 - share) * below + share * above > 0
            added += 1
    return out, added


def signed_distance(plane: Array) -> Array:
    """Distance in pixels to the outline, positive inside."""
    return np.asarray(ndimage.distance_transform_edt(plane) - ndimage.distance_transform_edt(~plane))


def draw(structure: Structure, series: CtSeries, say: Callable[[str], None]) -> tuple[Array, str] | None:
    """The mask of an ROI and its status, or None if nobody drew it. Says what is odd about it.

    `drawn`, `empty` (contours enclose no voxel) or `outside` (all are beyond the scanned range). An ROI without
    contours was never drawn (systems create them from templates): that is *not annotated*. So is one with oblique
    contours: the slices that they cross would be taken for empty.
    """
    if not structure.contours or structure.oblique:
        say(f"{structure.name!r} is not annotated: {structure.fault or structure.partly}")
        return None
    raster = rasterised_on(series, structure)
    if raster.oblique:
        say(f"{structure.name!r} is not annotated: {'; '.join(raster.oddities(len(structure.contours)))}")
        return None
    if raster.lost == len(structure.contours):
        say(f"{structure.name!r} lies outside the scanned range")
        return raster.mask, "outside"
    mask, added = completed(raster.mask)
    odd = [structure.partly, *raster.oddities(len(structure.contours))]
    if added:
        odd.append(f"drawn on every second or third slice, {added} slices interpolated")
    if gaps := gaps_in(mask):
        odd.append(f"{gaps} slices between its contours are empty")
    if any(odd):
        say(f"{structure.name!r}: {'; '.join(filter(None, odd))}")
    return mask, "drawn" if mask.any() else "empty"


def gaps_in(mask: Array) -> int:
    """How many slices between the first and the last that hold something hold nothing."""
    drawn = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(drawn[-1] - drawn[0] + 1 - drawn.size) if drawn.size else 0


def drawn_here(structure: Structure, file: StructureFile, ct: Target) -> tuple[Structure, str]:
    """The ROI with the contours that were drawn on this CT, and why others are left out, empty if none are.

    Contours refer to the images on which they were drawn (PS3.3 C.8.8.6.1). Those that refer to none belong to the one
    series that the file names or, where it names none, to the CT that is alone in its frame of reference.
    """
    if structure.frame_uid not in ("", ct.frame_uid):
        return structure.on(None), "it lies in another frame of reference"
    own = structure.on(ct.images)
    if others := len(structure.contours) - len(own.contours):
        return own, f"{others} of its {len(structure.contours)} contours were drawn on images of another series"
    if own.contours and not own.images and not (len(file.series) == 1 if file.series else ct.alone):
        return structure.on(None), "its contours refer to no image, and several CT series may be meant"
    return own, ""


def chosen_structures(
    files: Sequence[StructureFile], ct: Target, names: NameTable, report: ImportReport, case: str
) -> dict[str, Structure]:
    """One ROI per TG-263 name: of several drawn ones the one spelled that way, else the one in the newest file.

    Contours that were not drawn on this CT are left out.
    """
    out: dict[str, Structure] = {}
    for file in files:
        for whole in file.structures:
            name = names.lookup(whole.name)
            if name is None:
                report.unmapped[whole.name] += 1
                continue
            report.mapped[whole.name, name] += 1
            structure, reason = drawn_here(whole, file, ct)
            if reason:
                report.notes.append(f"{case}: {whole.name!r} left out: {reason}")
                if not structure.contours:
                    continue
            old = out.get(name)
            if old is not None and old.contours:
                if old.name == name != structure.name or not structure.contours:
                    continue
                report.notes.append(f"{case}: {name} drawn more than once; {structure.name!r} of {file.called} taken")
            out[name] = structure
    return out


def import_series(
    series_uid: str, paths: Sequence[Path], files: Sequence[StructureFile], names: NameTable, report: ImportReport,
    used: set[str], in_frame: Mapping[str, int],
) -> Case:  # fmt: skip
    """One CT with what is drawn on it. Raises CaseError if it is no usable volume or has no mapped structure.

    What the files are called that belong to it is added to `used`. `in_frame` is how many CT series lie in a frame of
    reference.
    """
    case, place = case_name(series_uid), report.called(paths[0].parent)

    def say(text: str) -> None:
        report.notes.append(f"{case}: {text}")

    try:
        headers = [read_header(path) for path in paths]
        series = series_of(chosen_images(headers, place, say, report.called))
    except SeriesError as error:
        raise CaseError(f"CT in {place}: {error}") from error
    frame_uid = text(series.header, "FrameOfReferenceUID")
    images = frozenset(header.sop_instance_uid for header in headers)
    ct = Target(series_uid, images, frame_uid, in_frame.get(frame_uid, 1) == 1)
    fitting = [one for one in files if belongs(one, ct)]
    used.update(one.called for one in fitting)
    masks: dict[str, Array] = {}
    status: dict[str, str] = {}
    for name, structure in chosen_structures(fitting, ct, names, report, case).items():
        found = draw(structure, series, say)
        if found is not None:
            masks[name], status[name] = found
    if not masks:
        raise CaseError(f"case {case}: no structure set with a known organ belongs to the CT in {place}")
    return make_case(case, series.volume, masks, status, say)


def unreferenced(files: Sequence[StructureFile], series_uids: Set[str], used: Set[str], report: ImportReport) -> None:
    """Report the structure sets whose CT is not in the tree."""
    for one in files:
        if one.series and not one.series & series_uids:
            report.left_out.append(f"{one.called} references a CT series that is not here; add it or leave both out")
        elif not one.series and one.called not in used:
            report.left_out.append(f"{one.called} names no CT series and lies in the frame of reference of no CT here")


def import_tree(root: Path, series: dict[str, list[Path]], names: NameTable, report: ImportReport) -> Iterator[Case]:
    """Every CT of `series` (UID to files) with the structure sets below `root`. The unusable go into the report."""
    files = find_structures(root, report)
    used: set[str] = set()
    in_frame = Counter(read_header(paths[0]).frame_uid for paths in series.values())
    for uid, paths in series.items():
        try:
            yield import_series(uid, paths, files, names, report, used, in_frame)
        except CaseError as error:
            report.left_out.append(str(error))
    unreferenced(files, series.keys(), used, report)
