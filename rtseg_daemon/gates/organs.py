"""Checks on segmented organs: side, place, size, shape and stated uncertainty. Pure. Masks `(z, y, x)` in CT axes."""

from collections.abc import Container, Iterable, Sequence

import cc3d
import numpy as np

from rtseg_daemon.anatomy.organ import Flag, Organ, flagged
from rtseg_daemon.anatomy.sides import twin_of
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.bundles import Bundle, OrganClass
from rtseg_daemon.gates.verdict import Finding, Verdict, verdict_of

STRAY_PART = 0.02
"""A separate part larger than this share of the organ is worth a look."""

PAIR_RATIO = 2.0
"""Left and right organs whose volumes differ by more than this factor are implausible."""


def judge_organs(organs: Sequence[Organ], bundle: Bundle, volume: Volume) -> tuple[list[Organ], Verdict]:
    """The organs with flags and reasons, and the verdict on the whole case.

    `volume` is the CT (HU) that the organs' boxes count in. Held are: left and right swapped, and too few organs found.
    """
    classes = {organ.name: organ for organ in bundle.classes}
    found = {organ.name: organ for organ in organs if organ.found}
    middle = midline_x(volume) if any(c.side != "none" for c in bundle.classes) else 0.0
    judged: list[Organ] = []
    findings: list[Finding] = []
    for organ in organs:
        notes = [*organ_notes(organ, classes[organ.name], found, volume.shape[0])]
        notes += across_midline(organ, classes[organ.name], found, middle)
        if bundle.research:
            notes.append((Flag.REVIEW, "this bundle is for research only"))
        judged.append(flagged(organ, notes))
        findings += wrong_side(organ, classes[organ.name], found, middle)
    findings += too_few_organs(found, bundle)
    findings += [Finding("flag", f"{o.name}: {'; '.join(o.reasons)}") for o in judged if o.flag is not Flag.OK]
    return judged, verdict_of(findings)


def organ_notes(organ: Organ, rule: OrganClass, found: dict[str, Organ], slices: int) -> Iterable[tuple[Flag, str]]:
    """Everything worth a reviewer's look about one organ."""
    if organ.box is None or organ.mask is None:
        yield Flag.REJECT, "not found; draw it by hand if it is in the scan"
        return
    yield from place_notes(organ, slices)
    yield from size_notes(organ, rule, found)
    yield from doubt_notes(organ, rule)


def place_notes(organ: Organ, slices: int) -> Iterable[tuple[Flag, str]]:
    """Cut off by the scan's ends, skipped slices, stray parts."""
    assert organ.box is not None
    assert organ.mask is not None
    if organ.cut:
        yield Flag.REVIEW, f"cut off at the {organ.cut} end of the region that is contoured"
    filled = np.flatnonzero(organ.mask.any(axis=(1, 2)))
    first, last = organ.box.start[0] + int(filled[0]), organ.box.start[0] + int(filled[-1])
    if first == 0 or last == slices - 1:
        end = "inferior" if first == 0 else "superior"
        yield Flag.REVIEW, f"cut off at the {end} end of the scan"
    skipped = last - first + 1 - filled.size
    if skipped:
        yield Flag.REVIEW, f"{skipped} slices skipped inside the organ"
    parts = stray_parts(organ.mask)
    if parts:
        yield Flag.REVIEW, f"{parts} separate part{'s' if parts > 1 else ''} beside the organ"


def stray_parts(mask: Array) -> int:
    """How many separate parts larger than STRAY_PART of the whole there are beside the largest."""
    counts = np.bincount(cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26).ravel())[1:]
    return max(int((counts > STRAY_PART * counts.sum()).sum()) - 1, 0)


def size_notes(organ: Organ, rule: OrganClass, found: dict[str, Organ]) -> Iterable[tuple[Flag, str]]:
    """Volume against the population and against the organ of the other side."""
    if rule.volume_ml is not None and not rule.volume_ml[0] <= organ.volume_ml <= rule.volume_ml[1]:
        low, high = rule.volume_ml
        yield Flag.REVIEW, f"volume {organ.volume_ml:.1f} ml is outside the population's {low:g} to {high:g} ml"
    pair = None if rule.target else found.get(twin_of(organ.name))
    if pair is not None and min(organ.volume_ml, pair.volume_ml) > 0:
        ratio = max(organ.volume_ml, pair.volume_ml) / min(organ.volume_ml, pair.volume_ml)
        if ratio > PAIR_RATIO:
            yield Flag.REVIEW, f"left and right differ in volume by a factor of {ratio:.1f}"


def doubt_notes(organ: Organ, rule: OrganClass) -> Iterable[tuple[Flag, str]]:
    """Predicted Dice against the bundle's thresholds."""
    if rule.calibration is None:
        yield Flag.REVIEW, "its Dice is not predicted: this bundle was not calibrated for it"
    predicted = organ.predicted_dice
    if predicted is None:
        return
    if rule.reject_below is not None and predicted < rule.reject_below:
        yield Flag.REJECT, f"predicted Dice {predicted:.2f} is below {rule.reject_below:.2f}"
    elif rule.review_below is not None and predicted < rule.review_below:
        yield Flag.REVIEW, f"predicted Dice {predicted:.2f} is below {rule.review_below:.2f}"
        if organ.doubt:
            yield Flag.REVIEW, f"members disagree, {organ.doubt}"


def wrong_side(organ: Organ, rule: OrganClass, found: dict[str, Organ], middle: float) -> Iterable[Finding]:
    """A left organ lies to the patient's left (larger x) of its pair, or of the body's midline where it has none."""
    if rule.side == "none" or rule.target or not organ.found:
        return
    pair = found.get(twin_of(organ.name))
    reference, what = (middle, "the midline") if pair is None else (centre_x(pair), pair.name)
    if (centre_x(organ) < reference) == (rule.side == "left"):
        yield Finding("hold", f"{organ.name} lies on the wrong side of {what}")


def across_midline(
    organ: Organ, rule: OrganClass, found: dict[str, Organ], middle: float
) -> Iterable[tuple[Flag, str]]:
    """One of a pair that lies beyond the midline, though on the right side of the other: both may be of one gland."""
    if rule.side == "none" or rule.target or not organ.found or twin_of(organ.name) not in found:
        return
    if (centre_x(organ) < middle) == (rule.side == "left"):
        yield Flag.REVIEW, "its centre lies beyond the patient's midline"


def centre_x(organ: Organ) -> float:
    """Mean voxel index along x, counted in the CT."""
    assert organ.box is not None
    assert organ.mask is not None
    return float(organ.box.start[2] + np.nonzero(organ.mask)[2].mean())


def midline_x(volume: Volume) -> float:
    """Voxel index along x of the patient's midline: median over the slices of the middle of what is no air.

    The narrower half of the slices is used (head and neck): shoulders may leave the field of view on one side.
    """
    solid = volume.array[:: max(1, volume.shape[0] // 64), ::2] > -350
    columns = solid.mean(axis=1) > 0.1
    rows = columns[columns.any(axis=1)]
    if rows.size == 0:
        return volume.shape[2] / 2
    spans = np.array([np.flatnonzero(row)[[0, -1]] for row in rows])
    widths = spans[:, 1] - spans[:, 0]
    return float(np.median(spans[widths <= np.median(widths)].mean(axis=1)))


def too_few_organs(found: Container[str], bundle: Bundle) -> Iterable[Finding]:
    """Fewer organs than the bundle's minimum: this is not the body region it was made for. A target may be absent."""
    organs = [organ.name for organ in bundle.classes if not organ.target]
    needed = min(bundle.limits.minimum_organs, len(organs))
    count = sum(name in found for name in organs)
    if count < needed:
        yield Finding("hold", f"only {count} organs found, at least {needed} expected: is this the right body region?")
