"""What a training set says of its organs: how large they are, and on which side. One case is in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_training.errors import ExportError
from rtseg_training.sets.cases import Case
from rtseg_training.sets.organs import side_of

LEAST_SPREAD = float(np.log(1.5))
"""No volume range is narrower than a third below and a half above the median, however alike the training cases."""


@dataclass(frozen=True)
class Prior:
    """What the training cases say of one organ: plausible volume in ml, and in how many cases it is drawn."""

    volume_ml: tuple[float, float]
    cases: int


@dataclass(frozen=True)
class Described:
    """What one training case says: volume in ml, and middle along x in voxels, of each organ that is drawn in it."""

    name: str
    volume_ml: dict[str, float]
    middle: dict[str, float]


def described(case: Case, organs: Sequence[str]) -> Described:
    """Measure the case's organs, each in its own box."""
    volumes, middles = {}, {}
    for organ in organs:
        box = case.box(organ) if case.status.get(organ) == "drawn" else None
        if box is None:
            continue
        columns = case.mask(organ, box).sum(axis=(0, 1))
        volumes[organ] = float(columns.sum()) * case.ct.voxel_ml
        middles[organ] = box.start[2] + float((columns * np.arange(len(columns))).sum() / columns.sum())
    return Described(case.name, volumes, middles)


def volume_prior(cases: Sequence[Described], organ: str) -> Prior:
    """Three robust standard deviations (1.4826 MAD) of the logarithm around the median of the drawn volumes.

    Raises ExportError if no case has the organ.
    """
    drawn = [case.volume_ml[organ] for case in cases if organ in case.volume_ml]
    if not drawn:
        raise ExportError(f"{organ}: no case of the training set has it; leave it out of the recipe")
    logs = np.log(drawn)
    middle = float(np.median(logs))
    spread = max(3 * 1.4826 * float(np.median(np.abs(logs - middle))), LEAST_SPREAD)
    return Prior((round(float(np.exp(middle - spread)), 2), round(float(np.exp(middle + spread)), 2)), len(drawn))


def check_sides(cases: Sequence[Described], organs: Sequence[str]) -> None:
    """Raises ExportError if a left organ does not lie to the patient's left of its right twin in most cases."""
    for left in (organ for organ in organs if side_of(organ) == "left"):
        right = left[:-2] + "_R"
        apart = [case.middle[left] - case.middle[right] for case in cases if {left, right} <= case.middle.keys()]
        if apart and float(np.mean(np.asarray(apart) > 0)) < 0.9:
            raise ExportError(f"{left} lies to the right of {right} in the training set; are sides mixed up there?")
