"""Checks on segmented organs: side, place, size, shape and stated uncertainty. Pure. Masks `(z, y, x)` in CT axes."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import cc3d
import numpy as np

from rtseg_daemon.anatomy.organ import Flag, Organ, flagged
from rtseg_daemon.anatomy.sides import twin_of
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.bundles import Bundle, OrganClass
from rtseg_daemon.gates.region import wrong_region
from rtseg_daemon.gates.verdict import Finding, Verdict, verdict_of

STRAY_PART = 0.02
"""A separate part larger than this share of the organ is worth a look."""

PAIR_RATIO = 2.0
"""Left and right organs whose volumes differ by more than this factor are implausible."""


TISSUE_HU = -300
TISSUE_CM2 = 10.0
"""A slice with less tissue is not of the patient: some CTs are padded with air to a number of slices."""

AT_THE_END_MM = 10.0
"""An organ cut off so near to the end of what was scanned is cut off by the scan."""

ODD_HU = 4.0
"""Standard deviations from the population's median HU from which on it may be another tissue."""


def judge_organs(organs: Sequence[Organ], bundle: Bundle, volume: Volume) -> tuple[list[Organ], Verdict]:
    """The organs with flags and reasons, and the verdict on the whole case.

    `volume` is the CT (HU) that the organs' boxes count in. Held are: left and right swapped, organs that are not where
    they belong to each other, and too few organs that are good enough to say which region this is.
    """
    classes = {organ.name: organ for organ in bundle.classes}
    found = {organ.name: organ for organ in organs if organ.found}
    middle = midline_x(volume) if any(c.side != "none" for c in bundle.classes) else 0.0
    shown = patient_slices(volume)
    judged: list[Organ] = []
    findings: list[Finding] = []
    for organ in organs:
        rule = classes[organ.name]
        reasons = [*organ_reasons(organ, rule, found, volume, shown), *doubt_reasons(organ, rule, bundle)]
        reasons += across_midline(organ, rule, found, middle)
        if bundle.research:
            reasons.append((Flag.REVIEW, "this bundle is for research only"))
        judged.append(replace(flagged(organ, reasons), notes=(*organ.notes, *ends_of_scan(organ, shown))))
        findings += wrong_side(organ, rule, found, middle)
    findings += wrong_region(judged, bundle)
    findings += [Finding("flag", f"{o.name}: {'; '.join(o.reasons)}") for o in judged if o.flag is not Flag.OK]
    return judged, verdict_of(findings)


def patient_slices(volume: Volume) -> tuple[int, int]:
    """Indices of the lowest and the highest slice that show a patient, or of all where none does."""
    pixel_cm2 = volume.spacing_mm[1] * volume.spacing_mm[2] / 100
    tissue = (volume.array[:, ::2, ::2] > TISSUE_HU).sum(axis=(1, 2)) * 4 * pixel_cm2
    shown = np.flatnonzero(tissue >= TISSUE_CM2)
    return (int(shown[0]), int(shown[-1])) if shown.size else (0, volume.shape[0] - 1)


def organ_reasons(
    organ: Organ, rule: OrganClass, found: dict[str, Organ], volume: Volume, shown: tuple[int, int]
) -> Iterable[tuple[Flag, str]]:
    """Everything worth a reviewer's look about one organ but its stated uncertainty."""
    if organ.box is None or organ.mask is None:
        yield Flag.REJECT, "not found; draw it by hand if it is in the scan"
        return
    yield from place_reasons(organ, rule, volume.spacing_mm[0], shown)
    yield from size_reasons(organ, rule, found)
    yield from tissue_reasons(organ, rule, found)


def filled_slices(organ: Organ) -> Array:
    """Indices on the CT of the slices that hold some of the organ, ascending."""
    assert organ.box is not None
    assert organ.mask is not None
    return np.asarray(organ.box.start[0] + np.flatnonzero(organ.mask.any(axis=(1, 2))))


def ends_of_scan(organ: Organ, shown: tuple[int, int]) -> Iterable[str]:
    """A note for each end of the scan that the organ reaches: it may go on where nothing was scanned.

    `shown` are the lowest and the highest slice that show a patient.
    """
    if not organ.found:
        return
    filled = filled_slices(organ)
    if filled[0] <= shown[0]:
        yield "reaches the lower end of the scan"
    if filled[-1] >= shown[1]:
        yield "reaches the upper end of the scan"


def place_reasons(organ: Organ, rule: OrganClass, step_mm: float, shown: tuple[int, int]) -> Iterable[tuple[Flag, str]]:
    """An early end, skipped slices, stray parts. `shown` as in `ends_of_scan`, slices `step_mm` apart."""
    assert organ.mask is not None
    filled = filled_slices(organ)
    above, below = float(filled[0] - shown[0]) * step_mm, float(shown[1] - filled[-1]) * step_mm
    end, gap = ("lower", above) if organ.cut == "inferior" else ("upper", below)
    if rule.runs_on and above > rule.early_end_mm:
        yield Flag.REVIEW, f"ends {above:.0f} mm above the lower end of the scan"
    elif organ.cut and gap > AT_THE_END_MM:
        yield Flag.REVIEW, f"cut off at the {end} end of the region that is contoured"
    skipped = int(filled[-1] - filled[0]) + 1 - filled.size
    if skipped:
        yield Flag.REVIEW, f"{skipped} slices skipped inside the organ"
    parts = stray_parts(organ.mask)
    if parts:
        yield Flag.REVIEW, f"{parts} separate part{'s' if parts > 1 else ''} beside the organ"


def stray_parts(mask: Array) -> int:
    """How many separate parts larger than STRAY_PART of the whole there are beside the largest."""
    counts = np.bincount(cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26).ravel())[1:]
    return max(int((counts > STRAY_PART * counts.sum()).sum()) - 1, 0)


def size_reasons(organ: Organ, rule: OrganClass, found: dict[str, Organ]) -> Iterable[tuple[Flag, str]]:
    """Volume against the population and against the organ of the other side."""
    if rule.volume_ml is not None and not rule.volume_ml[0] <= organ.volume_ml <= rule.volume_ml[1]:
        low, high = rule.volume_ml
        yield Flag.REVIEW, f"volume {organ.volume_ml:.1f} ml is outside the population's {low:g} to {high:g} ml"
    pair = None if rule.target else found.get(twin_of(organ.name))
    if pair is not None and min(organ.volume_ml, pair.volume_ml) > 0:
        ratio = max(organ.volume_ml, pair.volume_ml) / min(organ.volume_ml, pair.volume_ml)
        if ratio > PAIR_RATIO:
            yield Flag.REVIEW, f"left and right differ in volume by a factor of {ratio:.1f}"


def tissue_reasons(organ: Organ, rule: OrganClass, found: dict[str, Organ]) -> Iterable[tuple[Flag, str]]:
    """HU inside against the population and against the other side: a bed of fat or muscle is no gland."""
    look, prior = organ.appearance, rule.prior
    if look is None or prior is None:
        return
    low, high = (prior.hu[0] + sign * ODD_HU * prior.hu[1] for sign in (-1, 1))
    if not low <= look.hu <= high:
        yield Flag.REVIEW, f"median HU inside is {look.hu:.0f}, the population's {low:.0f} to {high:.0f}: is it there?"
    twin = found.get(twin_of(organ.name))
    if prior.pair_hu is None or twin is None or twin.appearance is None:
        return
    apart = abs(look.hu - twin.appearance.hu)
    if apart > prior.pair_hu:
        yield (
            Flag.REVIEW,
            f"left and right differ by {apart:.0f} HU inside, by {prior.pair_hu:.0f} at most in the population: "
            "was one taken out?",
        )


def doubt_reasons(organ: Organ, rule: OrganClass, bundle: Bundle) -> Iterable[tuple[Flag, str]]:
    """Why the contour may not be acceptable, and where the members disagree if so."""
    if not organ.found:
        return
    if rule.calibration is None:
        yield Flag.REVIEW, "its Dice is not predicted: this bundle was not calibrated for it"
    doubt = likely_bad(organ, rule, bundle) if organ.unacceptable is not None else foretold_bad(organ, rule)
    if doubt is not None:
        yield doubt
        if organ.doubt:
            yield Flag.REVIEW, f"members disagree, {organ.doubt}"


def likely_bad(organ: Organ, rule: OrganClass, bundle: Bundle) -> tuple[Flag, str] | None:
    """The chance of an unacceptable contour against the bundle's rates."""
    assert organ.unacceptable is not None
    if organ.unacceptable < bundle.review_above:
        return None
    flag = Flag.REJECT if organ.unacceptable >= bundle.reject_above else Flag.REVIEW
    return flag, f"{organ.unacceptable:.0%} chance of a Dice below {rule.acceptable:.2f}"


def foretold_bad(organ: Organ, rule: OrganClass) -> tuple[Flag, str] | None:
    """Predicted Dice against the thresholds of a bundle that knows no chances."""
    for flag, limit in ((Flag.REJECT, rule.reject_below), (Flag.REVIEW, rule.review_below)):
        if organ.predicted_dice is not None and limit is not None and organ.predicted_dice < limit:
            return flag, f"predicted Dice {organ.predicted_dice:.2f} is below {limit:.2f}"
    return None


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
