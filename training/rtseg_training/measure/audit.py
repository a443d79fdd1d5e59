"""Which contours of a data set do not fit their CT: shifted as a whole, of another organ, or on the wrong side.

A bundle's own contours are the yardstick, so a case that is listed is a case to look at, not a verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array, Triple
from rtseg_daemon.bundles import OrganClass
from rtseg_training.measure.evaluate import drawn, full_mask
from rtseg_training.sets.cases import Case

SHIFT_MM = 6.0
"""A common displacement of the drawn organs from here on is listed."""
LOW_DICE = 0.3


@dataclass(frozen=True)
class Oddity:
    """One thing to look at in one case."""

    case: str
    what: str


def centre_mm(mask: Array, spacing_mm: Triple) -> Array:
    """Centre of a mask in mm from the grid's corner (z, y, x)."""
    return np.asarray(np.argwhere(mask).mean(axis=0) * np.asarray(spacing_mm))


def common_shift(offsets: Sequence[Array]) -> Array | None:
    """The displacement (z, y, x) mm that organs share: their median, if each moved at least half as far along it."""
    if len(offsets) < 2:
        return None
    middle = np.median(np.stack(offsets), axis=0)
    length = float(np.linalg.norm(middle))
    if length < SHIFT_MM:
        return None
    along = np.stack(offsets) @ (middle / length)
    return middle if bool((along > 0.5 * length).all()) else None


def odd_volume(case: Case, organ: OrganClass) -> str:
    """A sentence if the drawn volume lies outside the population's range, empty if not."""
    volume = float(case.mask(organ.name).sum()) * case.ct.voxel_ml
    if organ.volume_ml is None or organ.volume_ml[0] <= volume <= organ.volume_ml[1]:
        return ""
    return f"{organ.name} is drawn with {volume:.1f} ml, expected {organ.volume_ml[0]:g} to {organ.volume_ml[1]:g}"


def audit_case(case: Case, organs: Sequence[Organ], classes: Sequence[OrganClass]) -> list[Oddity]:
    """What to look at in one case."""
    found: list[Oddity] = []
    offsets = []
    for organ, known in zip(organs, classes, strict=True):
        if not drawn(case, organ.name):
            continue
        truth, guess = case.mask(organ.name), full_mask(organ, case.ct)
        if odd := odd_volume(case, known):
            found.append(Oddity(case.name, odd))
        if guess.any():
            offsets.append(centre_mm(truth, case.ct.spacing_mm) - centre_mm(guess, case.ct.spacing_mm))
        score = dice(truth, guess)
        if score < LOW_DICE:
            found.append(Oddity(case.name, f"{organ.name} as drawn and as found overlap by Dice {score:.2f}"))
    shift = common_shift(offsets)
    if shift is not None:
        z, y, x = shift
        where = f"{z:+.0f} mm up, {y:+.0f} mm back, {x:+.0f} mm to the left"
        found.insert(0, Oddity(case.name, f"all drawn organs lie {where} of where they are found: of another CT?"))
    return found
