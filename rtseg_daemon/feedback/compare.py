"""The ROIs of a returned set against ours, on the grid of the CT. Pure, but for reading our own structure sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtseg_daemon.anatomy.called import LONGEST_NAME, ascii_line
from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.ct.geometry import Geometry
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.feedback.contours import Drawn, drawn_on
from rtseg_daemon.feedback.difference import difference
from rtseg_daemon.rtstruct.reading import Structure, read_structures
from rtseg_daemon.storage import damage

LIKELY = 0.5
"""Dice from which on an ROI of an unknown name probably is our organ."""
MOST_ASKED = 40
"""ROIs of unknown names for which that is looked at."""


@dataclass(frozen=True)
class Task:
    """One ROI that came back: its organ and the result of ours that has it, where these are known.

    Args:
        ask: whether a person is to say what its name means.
    """

    roi_id: int
    organ: str | None
    job_id: int | None
    ask: bool = False


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
    """What came of one ROI. `fit`: whether its contours lie on the CT's slices."""

    difference: dict[str, Any] | None = None
    reasons: tuple[str, ...] = ()
    fit: bool = True


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
    asked = 0
    for task, structure in zip(tasks, structures, strict=True):
        asked += task.ask
        if not structure.contours:
            found[task.roi_id] = Measured(reasons=(structure.fault,) if structure.fault else ())
        elif task.organ is not None:
            ours = results[main if task.job_id is None else task.job_id]
            found[task.roi_id] = measured_organ(task, structure, ours, referring)
        elif task.ask and asked <= MOST_ASKED:
            found[task.roi_id] = Measured(reasons=likely(structure, results, known, referring))
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


def likely(structure: Structure, results: Mapping[int, Ours], known: set[str], referring: bool) -> tuple[str, ...]:
    """Where an ROI of an unknown name lies on one of our organs that nobody else is: what a person may mean by it."""
    best, where = 0.0, ""
    for ours in results.values():
        theirs = drawn_on(ours.geometry, structure, referring)
        for name in ours.names:
            mine = ours.organ(name) if name not in known else None
            overlap = float(dice(mine.mask, theirs.mask)) if mine is not None and theirs.mask.any() else 0.0
            if overlap > best:
                best, where = overlap, name
    return (f"it lies where our {where} lies (Dice {best:.2f})",) if best >= LIKELY else ()
