"""From CT files to the written structure set, with known answers: sides, an organ that is not there, a wrong region."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset

from rtseg_daemon.anatomy.organ import Flag
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.demo.phantom import write_series
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.work.case import CaseResult

Run = Callable[[list[Path]], CaseResult]
"""The whole way from the files of a series to a case that was written and read back."""

MARKER_HU = 1500
MARKER_MM = 5.0
MARKER_GAP_MM = 12.0
"""The marker's radius, and its distance from the skin."""


@dataclass(frozen=True)
class Check:
    """One question to the whole way, and what came out."""

    subject: str
    ok: bool
    message: str


def with_marker(ct: Volume, beside: Array) -> tuple[Volume, float]:
    """The CT with a dense ball to the left of the skin beside the organ `beside`, and the ball's x in mm.

    Left is where patient x is larger (PS3.3 C.7.6.2.1.1). The ball tells the side whatever a network says.
    """
    z, y, x = (round(float(axis.mean())) for axis in np.nonzero(beside))
    row = ct.array[z, y] > -350
    skin = x + int(np.argmin(row[x:])) if not row[x:].all() else ct.shape[2] - 1
    centre = skin + (MARKER_GAP_MM + MARKER_MM) / ct.spacing_mm[2]
    zs, ys, xs = np.ogrid[: ct.shape[0], : ct.shape[1], : ct.shape[2]]
    dz, dy, dx = ct.spacing_mm
    ball = ((zs - z) * dz) ** 2 + ((ys - y) * dy) ** 2 + ((xs - centre) * dx) ** 2 <= MARKER_MM**2
    return ct.with_array(np.where(ball, np.int16(MARKER_HU), ct.array)), ct.origin_mm[2] + centre * dx


def check_sides(result: CaseResult, marker_x_mm: float) -> Iterator[Check]:
    """Every left contour of the file lies to the marker's side of its twin on the right."""
    centres = mean_x_mm(result.dataset) if result.dataset is not None else {}
    pairs = [(name, f"{name.removesuffix('_L')}_R") for name in centres if name.endswith("_L")]
    pairs = [(left, right) for left, right in pairs if right in centres]
    if not pairs:
        yield Check("sides", False, "no pair of organs was contoured in the phantom")
    for left, right in pairs:
        ok = centres[right] < centres[left] < marker_x_mm
        place = f"x {centres[left]:.0f} mm, {right} {centres[right]:.0f} mm, marker on the left {marker_x_mm:.0f} mm"
        yield Check("sides", ok, f"{left} at {place}")


def mean_x_mm(dataset: Dataset) -> dict[str, float]:
    """Mean x of the contour points of every ROI that has any, from the structure set alone."""
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    found = {}
    for item in dataset.ROIContourSequence:
        points = [float(x) for contour in item.get("ContourSequence") or [] for x in contour.ContourData[::3]]
        if points:
            found[names[int(item.ReferencedROINumber)]] = float(np.mean(points))
    return found


def check_missing(run: Run, ct: Volume, truth: Mapping[str, Array], organ: str) -> Check:
    """The phantom scanned only from above `organ` on: no contour of it may say OK."""
    top = int(np.flatnonzero(truth[organ].any(axis=(1, 2)))[-1]) + 1
    kept = replace(ct, array=ct.array[top:], origin_mm=(ct.origin_mm[0] + top * ct.spacing_mm[0], *ct.origin_mm[1:]))
    result = through(run, kept, seed=2)
    if result.held:
        return Check("missing organ", True, f"a scan without {organ} is HELD: {'; '.join(result.reasons)}")
    found = next(one for one in result.organs if one.name == organ)
    ok = not found.found or found.flag is not Flag.OK
    said = f"{found.flag}, {'; '.join(found.reasons) or 'no reason'}"
    return Check("missing organ", ok, f"{organ} in a scan that does not reach it: {said}")


def check_region(run: Run, ct: Volume) -> Check:
    """A cylinder of water instead of a patient is held."""
    y, x = np.ogrid[: ct.shape[1], : ct.shape[2]]
    radii = [0.32 * n * s for n, s in zip(ct.shape[1:], ct.spacing_mm[1:], strict=True)]
    inside = sum(
        (((axis - n / 2) * s) / radius) ** 2
        for axis, n, s, radius in zip((y, x), ct.shape[1:], ct.spacing_mm[1:], radii, strict=True)
    )
    water = np.where(np.asarray(inside) <= 1.0, np.int16(0), np.int16(-1000))
    try:
        result = through(run, ct.with_array(np.repeat(water[None], ct.shape[0], axis=0)), seed=3)
    except SeriesError as error:
        return Check("wrong region", True, f"a water phantom is HELD: {error}")
    said = f"HELD: {result.reasons[0]}" if result.held else "not held"
    return Check("wrong region", result.held, f"a water phantom is {said}")


def through(run: Run, ct: Volume, seed: int) -> CaseResult:
    """Write the CT as a series and send it the whole way."""
    with tempfile.TemporaryDirectory(prefix="rtseg-demo-") as folder:
        return run(write_series(ct, Path(folder), seed))
