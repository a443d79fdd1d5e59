"""Which CT series a structure set was drawn on, and whose it is. Pure: from what is known to a decision.

By the images that its contours refer to, else by the series that it names, else by frame of reference and study.
Nothing is ever paired across patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rtseg_daemon.dicom.person import Person
from rtseg_daemon.feedback.said import Said

MOSTLY = 0.5
"""Share of the contours that must lie on a series' images for the set to be drawn on it."""


@dataclass(frozen=True)
class Candidate:
    """A CT series that is known here.

    Args:
        person: whose it is, with the series' UID as salt. None where that is not known any more.
        images: SOP Instance UIDs of its images, also of those that were removed.
        contoured: whether a result of ours was made of it.
    """

    series_id: int
    series_uid: str
    study_uid: str
    frame_uid: str
    person: Person | None
    images: frozenset[str]
    contoured: bool


@dataclass(frozen=True)
class Pairing:
    """The series that a set was drawn on, or why none is taken for it.

    Args:
        other_patient: whether it names a series of ours and is another patient's. A person must know.
        notes: what was odd about it.
    """

    series_id: int | None
    reasons: tuple[str, ...] = ()
    other_patient: bool = False
    notes: tuple[str, ...] = ()


def apart(*reasons: str, other_patient: bool = False) -> Pairing:
    return Pairing(None, reasons, other_patient)


def paired(said: Said, candidates: Sequence[Candidate]) -> Pairing:
    """The series among `candidates` that the set was drawn on."""
    by_images = [one for one in candidates if one.images & (said.drawn.keys() | said.listed)]
    if by_images:
        return of_the_patient(said, by_their_images(said, by_images))
    by_name = [one for one in candidates if one.series_uid in said.series]
    if len(by_name) > 1:
        return apart("it names several series that are known here, and none of their images")
    if by_name:
        note = "it names the series and other images than those that came here"
        return of_the_patient(said, (by_name[0], (note,) if said.drawn else ()))
    return by_frame(said, [one for one in candidates if one.frame_uid and one.frame_uid in said.frames])


Found = tuple[Candidate, tuple[str, ...]]


def by_their_images(said: Said, candidates: Sequence[Candidate]) -> Found | Pairing:
    """The one that most contours were drawn on, or that most of the listed images are of."""

    def drawn_on(one: Candidate) -> tuple[int, int]:
        return sum(count for image, count in said.drawn.items() if image in one.images), len(one.images & said.listed)

    ordered = sorted(candidates, key=drawn_on, reverse=True)
    best, drawn = ordered[0], sum(said.drawn.values())
    if len(ordered) > 1 and drawn_on(ordered[1]) == drawn_on(best):
        return apart("it was drawn on two series in equal parts")
    on_best = drawn_on(best)[0]
    if drawn and on_best <= MOSTLY * drawn:
        return apart(f"{drawn - on_best} of {drawn} contours were drawn on images of another series")
    elsewhere = f"{drawn - on_best} of {drawn} contours were drawn on images of another series and are left out"
    return best, (elsewhere,) if on_best < drawn else ()


def by_frame(said: Said, candidates: Sequence[Candidate]) -> Pairing:
    """The only one in its frame of reference and study, of those that have a result of ours if any has.

    A set that names series, all unknown here, and another study was drawn on another scan: a registered one may share
    the frame of reference.
    """
    if not candidates:
        return apart(unknown(said))
    same_study = [one for one in candidates if one.study_uid == said.study_uid]
    if not same_study and (said.series or said.drawn):
        return apart("it lies in the frame of reference of a series of ours, and was drawn on another series and study")
    near = same_study or candidates
    contoured = [one for one in near if one.contoured] or near
    if len(contoured) > 1:
        return apart("several series here lie in its frame of reference, and it does not say which it was drawn on")
    how = "frame of reference and study" if same_study else "frame of reference alone"
    return of_the_patient(said, (contoured[0], (f"it is paired by {how}",)))


def unknown(said: Said) -> str:
    """Why nothing here can be meant."""
    if said.series or said.drawn or said.listed:
        return "the series that it was drawn on is not known here"
    return "it does not say which images it was drawn on, and nothing here lies in its frame of reference"


def of_the_patient(said: Said, found: Found | Pairing) -> Pairing:
    """The pairing, unless it would be across patients."""
    if isinstance(found, Pairing):
        return found
    candidate, notes = found
    if candidate.person is None:
        return apart("whose series it was drawn on is not known any more: the images were removed before this version")
    reason, note = differs(candidate.person, said.person(candidate.series_uid))
    if reason:
        return apart(f"it refers to a series of ours and {reason}", other_patient=True)
    return Pairing(candidate.series_id, notes=(*notes, *note))


def differs(ours: Person, theirs: Person) -> tuple[str, tuple[str, ...]]:
    """Why two are not one patient, empty if they are, and what was odd about it.

    One PatientID, no two birth dates, and no two names without a word in common. Systems write names in other orders,
    and people marry.
    """
    if ours.identifier != theirs.identifier:
        return "has another PatientID", ()
    if ours.born and theirs.born and ours.born != theirs.born:
        return "has the same PatientID and another birth date", ()
    if ours.names and theirs.names and not ours.names & theirs.names:
        return "has the same PatientID and another name", ()
    if not ours.identifier and (not ours.names or ours.names != theirs.names):
        return "neither has a PatientID, so nobody knows that they are one patient", ()
    return "", ("the patient's name is written otherwise",) if ours.names != theirs.names else ()
