"""One segmented organ, and the line about it that the physicist reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from rtseg_daemon.anatomy.volume import Array, Box

RELEASED = "released by a person: "
"""What stands before each reason to hold that a person set aside."""


class Flag(StrEnum):
    """What a reviewer should expect of an organ."""

    OK = "OK"
    REVIEW = "REVIEW"
    REJECT = "REJECT"


@dataclass(frozen=True)
class Uncertainty:
    """How much the members agree on one organ.

    Args:
        vvc: volume variation coefficient sigma_V / mu_V over the members (seed 002, eq. 7), or None for one member.
        entropy: mean entropy (nats) of the members' label votes inside the organ, or None for one member.
        pairwise_dice: mean Dice between all pairs of members, or None for one member.
        soft_entropy: mean entropy (nats) of the ensemble's probabilities inside the organ.
        expected_dice: the Dice that the ensemble's own probabilities expect of the organ, or None where none was found.
        mutual_information: mean inside the organ of the entropy (nats) of the members' mean probability minus the mean
            of their entropies, at temperature 1: 0 where all say the same, or None for one member.
    """

    vvc: float | None = None
    entropy: float | None = None
    pairwise_dice: float | None = None
    soft_entropy: float | None = None
    mutual_information: float | None = None
    expected_dice: float | None = None


@dataclass(frozen=True)
class Appearance:
    """How an organ looks where the network saw it, whatever the CT's own grid is.

    Args:
        volume_ml: volume of all that is called so.
        centre_mm: centre of gravity in patient coordinates (z, y, x).
        extent_mm: extent along (z, y, x).
        hu: median HU inside, away from the border where it is thick enough.
        contrast: `hu` minus the median HU of the tissue around it.
        continuity: mean Dice of neighbouring slices, 0 to 1.
        at_end: whether it meets an end of the region that the network saw.
    """

    volume_ml: float
    centre_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    hu: float
    contrast: float
    continuity: float
    at_end: bool


@dataclass(frozen=True)
class Organ:
    """An organ on the CT's grid.

    Args:
        name: TG-263 name.
        box: where on the CT's grid `mask` and `margin` lie, or None if nothing was found.
        mask: boolean `(z, y, x)` inside `box`.
        margin: float32 `(z, y, x)` inside `box`, positive inside the organ: p_c minus the largest other probability.
            None where there is only a mask.
        volume_ml: volume of the mask.
        slices: first and last slice number (from 1, inferior to superior) where members disagree most, if any.
        doubt: which part of the organ that is: `inferior end`, `superior end`, `middle` or `whole length`.
        cut: at which end of the region that the network saw it was cut off, though the scan goes on, empty if nowhere.
        unacceptable: probability that its Dice is below what is acceptable, or None if nothing tells.
        notes: what a reader should know that is no reason to doubt it.
        appearance: how it looks where the network saw it, or None where there is only a mask.
        figures: by name, everything that a prediction may use.
        origin: in a structure set of several bundles the one it is of, and its name there.
    """

    name: str
    box: Box | None
    mask: Array | None
    margin: Array | None
    volume_ml: float
    uncertainty: Uncertainty = Uncertainty()
    predicted_dice: float | None = None
    interval: tuple[float, float] | None = None
    flag: Flag = Flag.OK
    reasons: tuple[str, ...] = ()
    slices: tuple[int, int] | None = None
    doubt: str = ""
    cut: str = ""
    unacceptable: float | None = None
    notes: tuple[str, ...] = ()
    appearance: Appearance | None = None
    figures: dict[str, float] = field(default_factory=dict)
    origin: tuple[str, str] | None = None

    @property
    def found(self) -> bool:
        return self.box is not None

    def sent(self, rejected: Literal["omit", "send"]) -> bool:
        """Whether its contours go into the file, from what the route does with rejected organs."""
        return self.found and (self.flag is not Flag.REJECT or rejected == "send")

    @property
    def comment(self) -> str:
        """One line, at most 1024 characters (ROIDescription is ST): the flag, then key=value pairs."""
        parts = [
            str(self.flag),
            f"vvc={shown(self.uncertainty.vvc, 3)}",
            f"entropy={shown(self.uncertainty.entropy, 2)}",
        ]
        if self.predicted_dice is not None:
            span = f"[{self.interval[0]:.2f}-{self.interval[1]:.2f}]" if self.interval else ""
            parts.append(f"dice={self.predicted_dice:.2f}{span}")
        if self.slices is not None and self.flag is not Flag.OK:
            parts.append(f"slices={self.slices[0]}-{self.slices[1]}")
        if self.origin is not None:
            parts.append(f"bundle={self.origin[0]}")
        if self.notes:
            parts.append(told(self.notes, "note"))
        if self.reasons:
            parts.append(told(self.reasons))
        return shortened(" ".join(parts))


def rings_to_send(rings: Sequence[Organ], organs: Sequence[Organ], rejected: Literal["omit", "send"]) -> list[Organ]:
    """The rings whose organ is among `organs` and has contours: no ring stands alone."""
    drawn = {organ.name for organ in organs if organ.sent(rejected)}
    return [ring for ring in rings if ring.name in drawn]


def shown(value: float | None, digits: int) -> str:
    """A figure for the comment line, or `na` where there is none."""
    return "na" if value is None else f"{value:.{digits}f}"


GRAVITY = {Flag.OK: 0, Flag.REVIEW: 1, Flag.REJECT: 2}


def flagged(organ: Organ, notes: Sequence[tuple[Flag, str]]) -> Organ:
    """The organ with the gravest of its own flag and the notes' flags, reasons in order, none twice."""
    flag = max([organ.flag, *(flag for flag, _ in notes)], key=GRAVITY.__getitem__)
    reasons = tuple(dict.fromkeys([*organ.reasons, *(reason for _, reason in notes)]))
    return replace(organ, flag=flag, reasons=reasons)


def told(words: Sequence[str], key: str = "reason") -> str:
    """Reasons, or notes, as they stand at the end of an organ's line."""
    text = "; ".join(words).replace('"', "'").replace("\\", "/")
    return f'{key}="{text}"'


def shortened(line: str) -> str:
    """At most the 1024 characters that a description may have."""
    return line if len(line) <= 1024 else line[:1020] + '..."'


def let_go(line: str, why: str) -> str:
    """An organ's line once a person let its structure set go although `why` held it.

    REVIEW at best, without predicted Dice, and the reason first. Raises ValueError for a line of another form.
    """
    told_before, _, reasons = line.partition(' reason="')
    facts, note, notes = told_before.partition(' note="')
    flag, *figures = facts.split(" ")
    gravest = max(Flag(flag), Flag.REVIEW, key=GRAVITY.__getitem__)
    figures = [figure for figure in figures if not figure.startswith("dice=")]
    known = [reasons.removesuffix('"')] if reasons else []
    kept = [f"{note.strip()}{notes}"] if note else []
    return shortened(" ".join([str(gravest), *figures, *kept, told([f"{RELEASED}{why}", *known])]))
