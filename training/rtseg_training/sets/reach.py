"""How far the organs of a case reach from the body's top, its front and its middle: what a plan must look at."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rtseg_daemon.anatomy.volume import Box, Triple, Volume
from rtseg_daemon.segment.body import body_mask, centre_box
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case
from rtseg_training.sets.manifest import Entry

COARSE_MM = 3.0
"""Pixels of this size are enough to find the body."""


@dataclass(frozen=True)
class Looked:
    """What one case says: spacing in mm `(z, y, x)`, and how far the drawn organs reach, in mm.

    Args:
        reach_mm: from the top of the body down, from its front back, and to either side of its middle. None where no
            organ is drawn.
    """

    spacing_mm: Triple
    reach_mm: Triple | None


def looked_at(case: Case) -> Looked:
    """Look at one case. Raises CaseError if there is no body in it."""
    boxes = [box for organ in case.structures if (box := case.box(organ)) is not None]
    return Looked(case.ct.spacing_mm, reach_of(case, boxes) if boxes else None)


def reach_of(case: Case, boxes: list[Box]) -> Triple:
    """How far boxes on the case's grid reach."""
    step = [1, *(max(1, round(COARSE_MM / s)) for s in case.ct.spacing_mm[1:])]
    z, y, x = (s * k for s, k in zip(case.ct.spacing_mm, step, strict=True))
    coarse = Volume(case.ct.array[:, :: step[1], :: step[2]], (z, y, x), case.ct.origin_mm)
    body = body_mask(coarse)
    if not body.any():
        raise CaseError(f"case {case.name}: no body found in the CT (nothing above -350 HU)")
    middle = centre_box(body, coarse.spacing_mm, (1e5, 1e5, 2 * x))  # two columns, on either side of the midline
    top, front, centre = middle.stop[0] * z, middle.start[1] * y, (middle.start[2] + middle.stop[2]) * x / 2
    dz, dy, dx = case.ct.spacing_mm
    lowest, rear = min(b.start[0] for b in boxes) * dz, max(b.stop[1] for b in boxes) * dy
    left, right = max(b.stop[2] for b in boxes) * dx, min(b.start[2] for b in boxes) * dx
    return top - lowest, rear - front, max(left - centre, centre - right)


def counts_of(entries: Iterable[Entry]) -> dict[str, int]:
    """In how many cases each organ is drawn."""
    counts: Counter[str] = Counter()
    for entry in entries:
        status = entry["status"]
        assert isinstance(status, dict)
        counts.update(organ for organ, what in status.items() if what == "drawn")
    return dict(counts)
