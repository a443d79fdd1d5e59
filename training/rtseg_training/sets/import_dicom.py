"""Import of what departments have: a tree of DICOM CTs and the structure sets drawn on them, in any nesting.

Case names are digests of the CT's series UID: nothing of a patient gets into file names or reports but ROI names.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.headers import SliceHeader, read_header
from rtseg_daemon.ct.series import series_of
from rtseg_daemon.dicom.files import text
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.rtstruct.reading import Structure
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, make_case
from rtseg_training.sets.drawing import draw
from rtseg_training.sets.import_images import chosen_images
from rtseg_training.sets.patients import Person, Persons, persons_among
from rtseg_training.sets.report import ImportReport
from rtseg_training.sets.source import Rules, Source
from rtseg_training.sets.structure_files import StructureFile, Target, belongs, find_structures
from rtseg_training.sets.truth import Origin, rank, refusal, why


@dataclass(frozen=True)
class Candidate:
    """One ROI that may become an organ, with the file that it stands in."""

    origin: Origin
    structure: Structure

    @property
    def words(self) -> str:
        return f"{self.structure.name!r} of {self.origin.words}"


def case_name(series_uid: str) -> str:
    """A name for the case that says nothing of the patient."""
    return "ct_" + hashlib.sha256(series_uid.encode()).hexdigest()[:12]


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


def candidates(
    files: Sequence[StructureFile], ct: Target, rules: Rules, report: ImportReport, case: str
) -> dict[str, list[Candidate]]:
    """Per TG-263 name the ROIs that count as truth and were drawn on this CT. What is left out is noted."""
    out: dict[str, list[Candidate]] = {}
    for file in files:
        for whole in file.structures:
            name = rules.names.lookup(whole.name)
            if name is None:
                report.unmapped[whole.name] += 1
                continue
            report.mapped[whole.name, name] += 1
            if reason := refusal(file.origin, whole, rules.any_status):
                report.notes.append(f"{case}: {whole.name!r} of {file.called} left out: {reason}")
                continue
            structure, reason = drawn_here(whole, file, ct)
            if reason:
                report.notes.append(f"{case}: {whole.name!r} left out: {reason}")
                if not structure.contours:
                    continue
            out.setdefault(name, []).append(Candidate(file.origin, structure))
    return out


def chosen_structures(
    files: Sequence[StructureFile], ct: Target, rules: Rules, report: ImportReport, case: str
) -> dict[str, Candidate]:
    """One ROI per TG-263 name: drawn before empty, approved before not, then newer, then the exact name.

    Every choice is noted with what it was chosen over.
    """
    out: dict[str, Candidate] = {}
    for name, found in candidates(files, ct, rules, report, case).items():
        ranked = sorted(found, key=lambda one, name=name: rank(one.origin, one.structure, name), reverse=True)  # type: ignore[misc]
        taken = out[name] = ranked[0]
        for other in ranked[1:]:
            reason = why(rank(taken.origin, taken.structure, name), rank(other.origin, other.structure, name))
            report.choices.append(f"{case}: {name}: {taken.words} taken over {other.words}: {reason}")
    if out and not any(one.origin.approval == "APPROVED" for one in out.values()):
        report.unapproved.append(case)
    return out


def build_case(
    series_uid: str, paths: Sequence[Path], files: Sequence[StructureFile], rules: Rules, report: ImportReport,
    in_frame: Mapping[str, int],
) -> Case:  # fmt: skip
    """One CT with what is drawn on it. Raises CaseError if it is no usable volume or has no structure that counts.

    Args:
        files: the structure sets that may belong to it.
        in_frame: how many CT series lie in a frame of reference.
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
    masks: dict[str, Array] = {}
    status: dict[str, str] = {}
    for name, one in chosen_structures(files, ct, rules, report, case).items():
        found = draw(one.structure, series, say)
        if found is not None:
            masks[name], status[name] = found
    if not masks:
        raise CaseError(nothing_drawn(case, place, files, rules))
    return make_case(case, series.volume, masks, status, say)


def nothing_drawn(case: str, place: str, files: Sequence[StructureFile], rules: Rules) -> str:
    """Why a CT has no contour that counts."""
    known = [(file, one) for file in files for one in file.structures if rules.names.lookup(one.name)]
    reasons = {refusal(file.origin, one, rules.any_status): file.called for file, one in known}
    if known and all(reasons):
        told = "; ".join(f"{called}: {reason}" for reason, called in sorted(reasons.items()))
        hint = "" if rules.any_status else ", or give --any-status if you know that they are right"
        return (
            f"case {case}: no approved set for the CT in {place} ({told}); approve the contours in the planning system "
            f"and export them again{hint}"
        )
    return f"case {case}: no structure set with a known organ belongs to the CT in {place}"


def unreferenced(files: Sequence[StructureFile], series_uids: Set[str], used: Set[str], report: ImportReport) -> None:
    """Report the structure sets whose CT is not in the tree."""
    for one in files:
        if one.series and not one.series & series_uids:
            report.left_out.append(f"{one.called} references a CT series that is not here; add it or leave both out")
        elif not one.series and one.called not in used:
            report.left_out.append(f"{one.called} names no CT series and lies in the frame of reference of no CT here")


def of_this_person(
    files: Sequence[StructureFile], person: Person, persons: Persons, report: ImportReport, case: str
) -> list[StructureFile]:
    """The structure sets that are not another patient's. The others are noted."""
    out = []
    for file in files:
        ours, theirs = persons.patient(person), persons.patient(file.person)
        if ours and theirs and ours != theirs:
            report.left_out.append(
                f"{file.called} belongs to the CT of {case} and has another PatientID; correct one in the archive"
            )
            continue
        out.append(file)
    return out


def tree_sources(
    root: Path, series: Mapping[str, Sequence[Path]], rules: Rules, report: ImportReport,
    known: Sequence[tuple[str, Person]] = (), given: Mapping[str, str] | None = None,
) -> Iterator[Source]:  # fmt: skip
    """Every CT of `series` (UID to files) with the structure sets below `root`. What cannot be used is in the report.

    Args:
        known: persons of earlier imports, by case.
        given: case to patient, where the images do not tell or are to be overruled.
    """
    files = find_structures(root, report)
    firsts = {uid: read_header(paths[0]) for uid, paths in series.items()}
    whose = {uid: person_in(first, (given or {}).get(case_name(uid), "")) for uid, first in firsts.items()}
    here = [*((case_name(uid), one) for uid, one in whose.items()), *((file.called, file.person) for file in files)]
    everyone = [*(one for one in known if one[0] not in dict(here)), *here]
    persons = persons_among(everyone)
    report.notes += persons.notes
    in_frame = Counter(first.frame_uid for first in firsts.values())
    used: set[str] = set()
    for uid, paths in series.items():
        case, first = case_name(uid), firsts[uid]
        ct = Target(uid, frozenset(), first.frame_uid, in_frame[first.frame_uid] == 1)
        fitting = [one for one in files if belongs(one, ct)]
        used.update(one.called for one in fitting)
        if fault := persons.two.get(whose[uid].patient_id):
            report.left_out.append(f"case {case}: {fault}")
            continue
        if not whose[uid].patient_id:
            report.notes.append(f"{case}: its images name no patient; patients.csv may tell (case,patient)")
        mine = of_this_person(fitting, whose[uid], persons, report, case)
        yield Source(
            case,
            whose[uid],
            persons.patient(whose[uid]),
            uid,
            tuple(paths),
            tuple(one.path for one in mine),
            rules.words,
            partial(build_case, uid, paths, mine, rules, report, in_frame),
            {"position": first.patient_position, "manufacturer": first.manufacturer},
        )
    unreferenced(files, series.keys(), used, report)


def person_in(header: SliceHeader, given: str) -> Person:
    """Whose a CT is, by its first image, or by the table that was given."""
    return Person(given or header.patient_id, header.patient_name, header.birth_date)
