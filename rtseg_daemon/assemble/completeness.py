"""Is a series complete? One pure function from what is known of it to wait, complete or hold.

No sign is trusted alone. Silence must have lasted, and is counted anew after a restart. A gap in the slices waits
longer, then holds. A transfer that broke off leaves the series open until a later association, ended in order, has
brought slices of it again, or later ones together all of them, or it is given up, and an image that was refused,
until that image has come. That an
association is still open makes silence weaker. Its release means nothing by itself (DICOM gives it no meaning). A PACS
that has had exactly as many images for a whole quiet time ends every further wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from rtseg_daemon.ct.preconditions import gaps
from rtseg_daemon.ledger.states import Ending


@dataclass(frozen=True)
class Slice:
    """One image of the series: its position along the stack in mm, None where the file does not say."""

    along_mm: float | None


@dataclass(frozen=True)
class Carrier:
    """An association that carried slices of the series. They are numbered as they were opened.

    `opened_at` and `ended_at` are by the ledger's clock. `ended_at` is None while it is open, and where nobody knows.
    """

    ending: Ending
    number: int
    opened_at: float = 0.0
    ended_at: float | None = 0.0


@dataclass(frozen=True)
class SeriesFacts:
    """What is known of a series.

    Args:
        slices: the axial images received. Localizers and reports are not among them.
        received: all images of the series, those left out included. A PACS's count is compared with them.
        silence_seconds: how long nothing of it came, counted since listening began at the earliest.
        carriers: the associations that carried it, oldest first.
        expected: how many images the PACS has, None if nobody said.
        refused: images of it that were refused and have not come since.
        brought: for each image received the numbers of the carriers that brought it, once or again.
        confirmed: whether the PACS said so when the silence had begun, and again after a quiet time.
        tolerance: how much longer than usual a slice distance may be, as a fraction, as the route's bundles allow.
    """

    slices: tuple[Slice, ...]
    received: int
    silence_seconds: float
    carriers: tuple[Carrier, ...] = ()
    expected: int | None = None
    confirmed: bool = True
    tolerance: float = 0.01
    refused: int = 0
    brought: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True)
class Patience:
    """How long what is waited for (seconds)."""

    quiet: float
    gap: float
    abandon: float


class Next(StrEnum):
    WAIT = "WAIT"
    COMPLETE = "COMPLETE"
    HOLD = "HOLD"


@dataclass(frozen=True)
class Decision:
    """What to do with the series now. The reasons are for HOLD."""

    next: Next
    reasons: tuple[str, ...] = ()


WAIT = Decision(Next.WAIT)
COMPLETE = Decision(Next.COMPLETE)


def completeness(facts: SeriesFacts, patience: Patience) -> Decision:
    """Wait, complete, or hold with reasons."""
    irregular = irregularity(facts.slices, facts.tolerance)
    if facts.silence_seconds < patience.quiet:
        return WAIT
    if facts.confirmed and facts.received == facts.expected and not irregular:
        return COMPLETE
    lacking = [reason for reason in (shortfall(facts), irregular) if reason]
    broken = breakage(facts.carriers, facts.brought)
    if lost := [reason for reason in (broken, refusal(facts)) if reason]:
        return after(patience.abandon, facts, *lost, *lacking)
    if lacking:
        return after(patience.gap, facts, *lacking)
    if any(carrier.ending is Ending.OPEN for carrier in facts.carriers) and facts.silence_seconds < patience.gap:
        return WAIT
    return COMPLETE


def after(seconds: float, facts: SeriesFacts, *reasons: str) -> Decision:
    """Hold for these reasons, but not before so much silence."""
    return Decision(Next.HOLD, reasons) if facts.silence_seconds >= seconds else WAIT


def shortfall(facts: SeriesFacts) -> str:
    """Why the PACS's count is not reached, or nothing."""
    if facts.expected is None or facts.received >= facts.expected:
        return ""
    return f"{facts.received} of {facts.expected} images were received"


def refusal(facts: SeriesFacts) -> str:
    """That images were refused, or nothing."""
    if not facts.refused:
        return ""
    return f"{facts.refused} of its images {'was' if facts.refused == 1 else 'were'} refused and did not come again"


def irregularity(slices: Sequence[Slice], tolerance: float = 0.01) -> str:
    """Why the slices are no gapless stack, or nothing. One slice alone, or none, is no gap. The series gate sees it."""
    known = sorted({round(s.along_mm, 3) for s in slices if s.along_mm is not None})
    with np.errstate(over="ignore"):
        steps = np.diff(np.asarray(known))
    if steps.size < 2:
        return ""
    usual = float(np.median(steps))
    if not bool((steps - usual > max(tolerance * usual, 0.05)).any()):
        return ""
    missing = gaps(known)
    if not missing:
        return f"the slices are not equally far apart ({steps.min():.2f} to {steps.max():.2f} mm)"
    shown = ", ".join(f"{place:.1f}" for place in missing[:8]) + (", ..." if len(missing) > 8 else "")
    return f"{len(missing)} slices are missing, at {shown} mm along the stack"


def breakage(carriers: Sequence[Carrier], brought: Sequence[frozenset[int]]) -> str:
    """That a transfer was aborted, cut off or died, and what was released since did not make it good.

    `brought` has for each image the numbers of the carriers that brought it.
    """
    broken = [
        carrier.ending
        for carrier in carriers
        if carrier.ending in (Ending.ABORTED, Ending.IDLE, Ending.DIED) and not made_good(carrier, carriers, brought)
    ]
    if broken and all(ending is Ending.IDLE for ending in broken):
        return (
            "its association fell silent, was cut off, and it was not sent again; for a sender that keeps associations "
            "open set dicom.idle_seconds above series.gap_seconds"
        )
    return "its transfer broke off and was not sent again" if broken else ""


def made_good(broken: Carrier, carriers: Sequence[Carrier], brought: Sequence[frozenset[int]]) -> bool:
    """Whether an association began when the broken one had ended, or those after it brought every image that there is.

    One that was begun beside it may have had slices of its own. What broke off with its host counts as ended when that
    host is back, so what was meanwhile sent to another one is known by its images. Both the number and the clock must
    say that one began later: a clock that was set back makes the series wait, and then be held.
    """
    later = [one for one in carriers if one.ending is Ending.RELEASED and one.number > broken.number]
    if broken.ended_at is not None and any(one.opened_at >= broken.ended_at for one in later):
        return True
    numbers = {one.number for one in later}
    return bool(brought) and all(not numbers.isdisjoint(one) for one in brought)
