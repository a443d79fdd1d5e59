"""The ROIs of a returned set against ours, on the grid of the CT. Pure, but for reading our own structure sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.called import LONGEST_NAME, ascii_line
from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.geometry import Geometry
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.feedback.contours import Drawn, drawn_on
from rtseg_daemon.feedback.difference import difference
from rtseg_daemon.rtstruct.reading import Structure, read_structures
from rtseg_daemon.storage import damage

LIKELY = 0.5
"""Dice from which on an ROI of an unknown name probably is our organ."""
POSSIBLE = 0.2
"""Dice from which on it may be. One that lies elsewhere is none of ours, and nobody is asked."""


@dataclass(frozen=True)
class Task:
    """One ROI that came back: its organ and the result of ours that has it, where these are known.

    Args:
        rival: whether another ROI may be the organ just as well.
        unknown: whether nobody knows its name while an organ of ours is not found.
        hint: the organ that its name is near to, empty if it is near to none.
    """

    roi_id: int
    organ: str | None
    job_id: int | None
    rival: bool = False
    unknown: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Ours:
    """A result of ours, as it was sent, on the grid that it was made on."""

    geometry: Geometry
    structures: tuple[Structure, ...]
    drawn: dict[str, Drawn] = field(default_factory=dict)

    def organ(self, name: str) -> Drawn | None:
        """Our contour of an organ, or None where the file has none."""
        wanted = ascii_line(name, LONGEST_NAME)
        found = next((one for one in self.structures if one.name == wanted and one.contours), None)
        if found is not None and name not in self.drawn:
            self.drawn[name] = drawn_on(self.geometry, found, referring=True)
        return self.drawn.get(name)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.structures if one.contours]


@dataclass(frozen=True)
class Measured:
    """What came of one ROI.

    Args:
        fit: whether its contours lie on the CT's slices.
        ask: whether a person is to say what its name means.
    """

    difference: dict[str, Any] | None = None
    reasons: tuple[str, ...] = ()
    fit: bool = True
    ask: bool = False


def our_result(path: Path, sha256: str, geometry: Geometry | None) -> Ours:
    """A result of ours from its file. Raises StructureSetError where it cannot be measured against any more."""
    if geometry is None:
        raise StructureSetError(
            "the grid of its CT is not known: it was contoured before 0.7 and its images are removed"
        )
    if problem := damage(path, sha256):
        raise StructureSetError(f"our own structure set {problem}; nothing can be measured against it")
    return Ours(geometry, tuple(read_structures(path)))


def measured(
    tasks: Sequence[Task], structures: Sequence[Structure], results: Mapping[int, Ours], main: int
) -> dict[int, Measured]:
    """Every ROI by its number in the ledger.

    `structures` are in the order of the tasks. `main` is the key of the result that stands for organs that none has.
    """
    images = {uid for one in results.values() for uid in one.geometry.sop_instance_uids}
    referring = any(one.images & images for one in structures)
    known = {task.organ for task in tasks if task.organ is not None}
    found: dict[int, Measured] = {}
    for task, structure in zip(tasks, structures, strict=True):
        if not structure.contours:
            found[task.roi_id] = Measured(reasons=(structure.fault,) if structure.fault else ())
        elif task.organ is not None:
            ours = results[main if task.job_id is None else task.job_id]
            found[task.roi_id] = measured_organ(task, structure, ours, referring)
        elif task.rival:
            found[task.roi_id] = Measured(reasons=("another ROI may be the same organ just as well",), ask=True)
        elif task.unknown:
            found[task.roi_id] = explained(task, structure, results, known, referring)
        else:
            found[task.roi_id] = Measured(reasons=(structure.partly,) if structure.partly else ())
    return found


def measured_organ(task: Task, structure: Structure, ours: Ours, referring: bool) -> Measured:
    """One organ against ours."""
    theirs = drawn_on(ours.geometry, structure, referring)
    if theirs.misfit:
        return Measured(reasons=(theirs.misfit, *theirs.notes), fit=False)
    if task.job_id is None or task.organ is None:
        return Measured(reasons=theirs.notes)
    mine = ours.organ(task.organ)
    if mine is None:
        return Measured(reasons=("our result has no contour of it", *theirs.notes))
    if not theirs.mask.any():
        return Measured(reasons=("its contours enclose no voxel", *theirs.notes), fit=False)
    contours = (mine.slices, theirs.slices)
    shape = difference(mine.mask, theirs.mask, ours.geometry.grid, task.organ, contours).shape()
    return Measured(shape, theirs.notes)


def explained(
    task: Task, structure: Structure, results: Mapping[int, Ours], known: set[str], referring: bool
) -> Measured:
    """An ROI of an unknown name: whether it may be an organ of ours that no other ROI is, and which."""
    overlaps = {
        name: overlap(structure, ours, name, referring)
        for ours in results.values()
        for name in ours.names
        if name not in known
    }
    where, best = max(overlaps.items(), key=lambda one: one[1], default=("", 0.0))
    if best >= LIKELY:
        return Measured(reasons=(f"it lies where our {where} lies (Dice {best:.2f})",), ask=True)
    hinted = (f"its name is near to {task.hint}",) if task.hint in overlaps else ()
    return Measured(reasons=hinted, ask=best >= POSSIBLE or bool(hinted))


def overlap(structure: Structure, ours: Ours, name: str, referring: bool) -> float:
    """Dice of an ROI and one of our organs, 0 where the boxes around them do not meet."""
    mine = next(one for one in ours.structures if one.name == name)
    one, other = ends_of(structure), ends_of(mine)
    if (one[0] > other[1]).any() or (other[0] > one[1]).any():
        return 0.0
    theirs, drawn = drawn_on(ours.geometry, structure, referring), ours.organ(name)
    return float(dice(drawn.mask, theirs.mask)) if drawn is not None and theirs.mask.any() else 0.0


def ends_of(structure: Structure) -> tuple[Array, Array]:
    """The lowest and the highest x, y and z of an ROI's points, in mm."""
    points = np.concatenate(structure.contours)
    return points.min(axis=0), points.max(axis=0)
