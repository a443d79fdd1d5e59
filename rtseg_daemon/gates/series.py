"""The clinical checks: from facts to pass, flag or hold, with reasons that a physicist understands. Pure functions.

Before inference the series is judged by its headers and its voxels, after inference by its organs (see `organ_gates`).
What holds may be released by a person, unless the series' identity is in doubt or no volume can be made of it.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rtseg_daemon.bundles import Limits
from rtseg_daemon.ct.headers import SliceHeader, split_images
from rtseg_daemon.ct.preconditions import EVEN, PRECONDITIONS, RELEASABLE, broken, gaps, sorted_positions
from rtseg_daemon.gates.position import doubt as position_doubt
from rtseg_daemon.gates.verdict import Finding, Verdict, verdict_of

FUNDAMENTAL = ("slices", "position", "orientation")
"""Preconditions without which the later ones mean nothing."""


CONE_BEAM = re.compile(r"on.?board|\bobi\b|\bxvi\b|cone.?beam|\bcbct\b|halcyon|ethos|truebeam|synergy|versa ?hd", re.I)
"""Manufacturers' names of treatment machines whose images are cone-beam CT. Their ImageType does not tell."""


# --- before inference ------------------------------------------------------------------------------------------------


def judge_series(headers: Sequence[SliceHeader], limits: Limits) -> Verdict:
    """Judge a series by its headers (localizers and their like are passed over)."""
    images, dropped = split_images(headers)
    findings = [*precondition_findings(images, limits.slice_distance_tolerance)]
    findings += [finding for check in SERIES_CHECKS for finding in check(images, limits)] if images else []
    if dropped:
        findings.append(Finding("note", f"{len(dropped)} localizers or reports in the series were left out"))
    return verdict_of(findings)


def precondition_findings(images: Sequence[SliceHeader], tolerance: float = EVEN) -> Iterable[Finding]:
    """Everything that keeps the images from being one volume. Stops where the rest would mean nothing."""
    for name in PRECONDITIONS:
        reason = broken(name, images, tolerance)
        if reason:
            yield Finding("hold", f"{reason}{missing_places(images) if name == 'gap' else ''}", name in RELEASABLE)
            if name in FUNDAMENTAL:
                return


def missing_places(images: Sequence[SliceHeader]) -> str:
    """`; missing at z = ... mm` where gaps are whole multiples of the usual distance."""
    z = [h.position_mm[2] for h in sorted_positions(images) if h.position_mm]
    places = gaps(z)
    shown = ", ".join(f"{place:.1f}" for place in places[:8]) + (", ..." if len(places) > 8 else "")
    return f"; missing at z = {shown} mm" if places else ""


def too_few(images: Sequence[SliceHeader], limits: Limits) -> Iterable[Finding]:
    count = len(sorted_positions(images))
    if count < limits.minimum_slices:
        yield Finding("hold", f"{count} slices; the bundle needs at least {limits.minimum_slices}")


def cone_beam(images: Sequence[SliceHeader], _limits: Limits) -> Iterable[Finding]:
    names = {f"{h.manufacturer} {h.model}".strip() for h in images}
    types = {part.upper() for h in images for part in h.image_type}
    if any(CONE_BEAM.search(name) for name in names) or "CBCT" in types:
        yield Finding("hold", "the images seem to be cone-beam CT, for which the bundle was not validated")


def mixed_kernel(images: Sequence[SliceHeader], _limits: Limits) -> Iterable[Finding]:
    kernels = {h.kernel for h in images}
    if len(kernels) > 1:
        yield Finding("hold", f"slices were made with {len(kernels)} different reconstruction kernels")


def several_phases(images: Sequence[SliceHeader], _limits: Limits) -> Iterable[Finding]:
    phases = {h.temporal_position for h in images}
    if len(phases) > 1:
        yield Finding("hold", f"{len(phases)} phases of a 4D scan in one series; send one phase")


def unvalidated_position(images: Sequence[SliceHeader], limits: Limits) -> Iterable[Finding]:
    """PatientPosition is one the bundle was validated for, and fits how the images are stored."""
    found = sorted({h.patient_position for h in images})
    if len(found) > 1:
        yield Finding("hold", f"PatientPosition differs within the series ({', '.join(found)})")
    elif not found[0]:
        yield Finding("note", "PatientPosition is missing; the position was taken from the direction cosines")
    elif found[0] not in limits.positions:
        yield Finding("hold", f"patient position {found[0]}; the bundle is validated for {', '.join(limits.positions)}")
    for position in found:
        if reason := position_doubt(position, [h.orientation for h in images]):
            yield Finding("hold", reason)


def uneven(images: Sequence[SliceHeader], limits: Limits) -> Iterable[Finding]:
    """Slice distances that only this bundle's tolerance lets pass are flagged."""
    reason = broken("gap", images) if len(images) > 1 else ""
    if reason and not broken("gap", images, limits.slice_distance_tolerance):
        share = limits.slice_distance_tolerance
        yield Finding("flag", f"{reason}; the bundle allows {share:.0%} of the usual distance")


def outside_range(images: Sequence[SliceHeader], limits: Limits) -> Iterable[Finding]:
    """Slice distance and pixel spacing within what the bundle was validated for."""
    z = [h.position_mm[2] for h in sorted_positions(images) if h.position_mm]
    distance = float(np.median(np.diff(z))) if len(z) > 1 else None
    pixel = images[0].pixel_spacing_mm
    for name, value, (low, high) in (
        ("slice distance", distance, limits.slice_spacing_mm),
        ("pixel spacing", pixel[0] if pixel else None, limits.pixel_spacing_mm),
    ):
        if value is not None and not low <= value <= high:
            yield Finding("flag", f"{name} {value:.2f} mm is outside the bundle's {low:g} to {high:g} mm")


SERIES_CHECKS: tuple[Callable[[Sequence[SliceHeader], Limits], Iterable[Finding]], ...] = (
    too_few,
    cone_beam,
    mixed_kernel,
    several_phases,
    unvalidated_position,
    uneven,
    outside_range,
)


# --- on the voxels ---------------------------------------------------------------------------------------------------
