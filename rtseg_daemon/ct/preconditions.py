"""What must hold before slices make one volume: one named check each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.headers import SliceHeader, is_ct_image
from rtseg_daemon.ct.stacks import FEWEST_OF_A_PASS, SAME_PLACE_MM, chosen_stack, positions, stacks, z_of
from rtseg_daemon.errors import SeriesError

ALIGNED = 4e-4
"""Largest direction cosine off its axis: 0.1 mm at 250 mm from the centre."""


EVEN = 0.01
"""Share of the usual slice distance by which one may be off unless more is tolerated."""

DISTANCES_SHOWN = 4
"""Of many slice distances that are off, so many are named."""


def sorted_positions(headers: Iterable[SliceHeader]) -> list[SliceHeader]:
    """One header per position of the largest stack, inferior to superior, of several that of lowest InstanceNumber."""
    ordered = sorted(chosen_stack(headers), key=lambda h: (z_of(h), h.instance_number or 0, h.sop_instance_uid))
    kept: list[SliceHeader] = []
    for header in ordered:
        if not kept or z_of(header) - z_of(kept[-1]) > SAME_PLACE_MM:
            kept.append(header)
    return kept


def storage_axes(orientation: Sequence[float]) -> tuple[int, int, int, int] | None:
    """How a stored image lies in the patient: (axis of a row, its sign, axis of a column, its sign).

    Axis x is 0, y is 1.

    None where the image is not axial within ALIGNED. The eight answers are the eight patient positions.
    """
    cosines = np.asarray(orientation, float).reshape(2, 3)
    axes = np.abs(cosines).argmax(axis=1)
    signs = np.sign(cosines[[0, 1], axes])
    ideal = np.zeros((2, 3))
    ideal[[0, 1], axes] = signs
    if set(axes.tolist()) != {0, 1} or np.abs(cosines - ideal).max() > ALIGNED:
        return None
    return int(axes[0]), int(signs[0]), int(axes[1]), int(signs[1])


Check = Callable[[Sequence[SliceHeader]], str]


def _differ(headers: Sequence[SliceHeader], fact: Callable[[SliceHeader], Any], what: str) -> str:
    values = {fact(h) for h in headers}
    return f"{what} differs within the series ({len(values)} values)" if len(values) > 1 else ""


def check_slices(headers: Sequence[SliceHeader]) -> str:
    """At least two CT images."""
    images = sum(is_ct_image(h) for h in headers)
    if images != len(headers):
        return f"{len(headers) - images} of {len(headers)} files are no CT images"
    return f"{images} CT images; at least 2 are needed for a volume" if images < 2 else ""


def check_identity(headers: Sequence[SliceHeader]) -> str:
    """One series of one study of one patient (name and birth date included)."""
    return (
        _differ(headers, lambda h: h.series_uid, "SeriesInstanceUID")
        or _differ(headers, lambda h: h.study_uid, "StudyInstanceUID")
        or _differ(headers, lambda h: h.patient_id, "the patient's identity (PatientID)")
        or _differ(headers, lambda h: h.patient_name, "the patient's identity (PatientName)")
        or _differ(headers, lambda h: h.birth_date, "the patient's identity (PatientBirthDate)")
        or ("an SOPInstanceUID occurs twice" if len({h.sop_instance_uid for h in headers}) < len(headers) else "")
        or ("StudyInstanceUID is missing" if not headers[0].study_uid else "")
    )


def check_frame(headers: Sequence[SliceHeader]) -> str:
    """One frame of reference, without which no contour has a place (PS3.3 C.7.4.1)."""
    if not all(h.frame_uid for h in headers):
        return "FrameOfReferenceUID is missing"
    return _differ(headers, lambda h: h.frame_uid, "FrameOfReferenceUID")


def check_position(headers: Sequence[SliceHeader]) -> str:
    """Every file says where its first pixel lies and how its rows and columns run."""
    lost = sum(h.position_mm is None or h.orientation is None for h in headers)
    return f"{lost} images without ImagePositionPatient or ImageOrientationPatient" if lost else ""


def check_orientation(headers: Sequence[SliceHeader]) -> str:
    """Axial images, all stored the same way round."""
    ways = {storage_axes(h.orientation) if h.orientation else None for h in headers}
    if None in ways:
        return "the images are oblique or not axial"
    return f"images are stored in {len(ways)} different orientations" if len(ways) > 1 else ""


def check_shear(headers: Sequence[SliceHeader]) -> str:
    """The first pixels stand above each other: otherwise the stack is sheared, as with a tilted gantry."""
    corners = np.array([h.position_mm[:2] for h in headers if h.position_mm])
    spread = float(np.ptp(corners, axis=0).max())
    return f"in-plane origin moves by {spread:.2f} mm along the stack (gantry tilt?)" if spread > SAME_PLACE_MM else ""


def check_tilt(headers: Sequence[SliceHeader]) -> str:
    """GantryDetectorTilt is zero or not given."""
    worst = max((abs(h.tilt_deg or 0.0) for h in headers), default=0.0)
    return f"GantryDetectorTilt is {worst:g} degrees" if worst > 0.02 else ""


def check_matrix(headers: Sequence[SliceHeader]) -> str:
    """One size, one frame, one sample per pixel."""
    first = headers[0]
    if first.rows < 2 or first.columns < 2 or any(h.frames != 1 or h.samples_per_pixel != 1 for h in headers):
        return "images are not single grey frames of at least 2 x 2 pixels"
    return _differ(headers, lambda h: (h.rows, h.columns), "the matrix")


def check_pixel_spacing(headers: Sequence[SliceHeader]) -> str:
    """One PixelSpacing for all."""
    if any(h.pixel_spacing_mm is None for h in headers):
        return "PixelSpacing is missing"
    spacing = np.array([h.pixel_spacing_mm for h in headers])
    return "PixelSpacing differs within the series" if float(np.ptp(spacing, axis=0).max()) > 1e-4 else ""


def check_rescale(headers: Sequence[SliceHeader]) -> str:
    """Stored values can be turned into HU (PS3.3 C.8.2.1.1.5: type 1 in CT images)."""
    if any(h.slope is None or h.intercept is None or h.slope == 0 for h in headers):
        return "RescaleSlope or RescaleIntercept is missing or zero"
    if any(h.rescale_type not in ("", "HU") for h in headers):
        return f"RescaleType is {headers[0].rescale_type!r}, not HU"
    return ""


def check_mixed_rescale(headers: Sequence[SliceHeader]) -> str:
    """One slope and intercept for all."""
    return _differ(headers, lambda h: (h.slope, h.intercept), "RescaleSlope or RescaleIntercept")


def check_acquisitions(headers: Sequence[SliceHeader]) -> str:
    """One pass over the patient: no acquisition reaches into another."""
    passes = stacks(headers)
    if len(passes) < 2:
        return ""
    counts = ", ".join(str(len(one)) for one in passes)
    first = passes[0][0].acquisition_number
    which = "the largest" if first is None else f"the largest, acquisition {first},"
    return f"{len(passes)} overlapping acquisitions in one series ({counts} images); if released, {which} is contoured"


def check_distinct(headers: Sequence[SliceHeader]) -> str:
    """Of several images at one position InstanceNumber says which belong together.

    Along the stack numbers rise or fall, and those of one stack come all before those of the other or next to them.
    Otherwise the first of each position would be a mixture of both. A few images that came twice are no stack.
    """
    by_place: dict[int, list[int]] = {}
    for header in chosen_stack(headers):
        by_place.setdefault(round(z_of(header) / SAME_PLACE_MM), []).append(header.instance_number or 0)
    pairs = [sorted(numbers) for _, numbers in sorted(by_place.items()) if len(numbers) > 1]
    if len(pairs) < FEWEST_OF_A_PASS:
        return ""
    apart = all(len(set(numbers)) == len(numbers) for numbers in pairs)
    firsts, others = [numbers[0] for numbers in pairs], [n for numbers in pairs for n in numbers[1:]]
    steady = len(set(np.sign(np.diff(firsts)).tolist())) == 1
    blocks = max(firsts) < min(others) or all(b - a == 1 for a, b, *_ in pairs)
    return "" if apart and steady and blocks else "nobody can say which of the images at one position belong together"


def check_duplicate(headers: Sequence[SliceHeader]) -> str:
    """One image per position."""
    stack = chosen_stack(headers)
    extra = len(stack) - len(positions(stack))
    return f"{extra} images stand at a position that another one holds" if extra else ""


def check_gap(headers: Sequence[SliceHeader], tolerance: float = EVEN) -> str:
    """Neighbouring slices are equally far apart, within `tolerance` (a fraction) or 0.05 mm, whichever is larger.

    The volume is an even grid: where more than EVEN is tolerated, no slice may lie half a distance off its place there.
    """
    z = np.array([z_of(h) for h in sorted_positions(headers)])
    if z.size < 2:
        return "all images stand at one position"
    steps = np.diff(z)
    usual = float(np.median(steps))
    off = np.flatnonzero(np.abs(steps - usual) > max(tolerance * usual, 0.05))
    if off.size:
        return odd_distances(z, off, usual)
    drift = float(np.abs(z - np.linspace(z[0], z[-1], z.size)).max())
    if tolerance > EVEN and drift > usual / 2:
        return f"uneven slice distances put a slice {drift:.2f} mm off its place in an even stack"
    return ""


def odd_distances(z: Array, off: Array, usual: float) -> str:
    """Which slice distances are not the usual one, and where: each is told by the z of its lower slice.

    Args:
        z: positions along the stack in mm, rising.
        off: indices of the lower slices of the distances that are off.
        usual: the usual distance in mm.
    """
    places = [f"{z[k + 1] - z[k]:.2f} mm at z = {z[k]:.1f} mm" for k in off[:DISTANCES_SHOWN]]
    if off.size == 1 and z.size > 3:
        return f"one slice distance is {places[0]}, the others {usual:.2f} mm"
    more = ", ..." if off.size > DISTANCES_SHOWN else ""
    return f"{off.size} of {z.size - 1} slice distances are not {usual:.2f} mm: {', '.join(places)}{more}"


PRECONDITIONS: dict[str, Check] = {
    "slices": check_slices,
    "identity": check_identity,
    "frame_of_reference": check_frame,
    "position": check_position,
    "orientation": check_orientation,
    "matrix": check_matrix,
    "pixel_spacing": check_pixel_spacing,
    "rescale": check_rescale,
    "mixed_rescale": check_mixed_rescale,
    "acquisitions": check_acquisitions,
    "duplicate_position": check_duplicate,
    "distinct_images": check_distinct,
    "shear": check_shear,
    "tilt": check_tilt,
    "gap": check_gap,
}
"""What a series must fulfil, by name, in the order of checking."""


def broken(name: str, headers: Sequence[SliceHeader], tolerance: float = EVEN) -> str:
    """Why a precondition fails, or an empty string. `tolerance` is that of slice distances (see check_gap)."""
    return check_gap(headers, tolerance) if name == "gap" else PRECONDITIONS[name](headers)


RELEASABLE = frozenset({"mixed_rescale", "acquisitions", "duplicate_position", "tilt"})
"""Preconditions without which a volume is still right, so that a person may let the series go on."""


def check_series(headers: Sequence[SliceHeader], allow: frozenset[str] = frozenset(), tolerance: float = EVEN) -> None:
    """Raise SeriesError for the first precondition that fails and is not both allowed and releasable."""
    for name in PRECONDITIONS:
        if name in allow & RELEASABLE:
            continue
        if reason := broken(name, headers, tolerance):
            raise SeriesError(f"{name}: {reason}; correct the series at its source and send it under new UIDs", name)


def gaps(positions: Sequence[float]) -> list[float]:
    """Where slices are missing between sorted `positions` (mm).

    A gap of k usual distances lacks k - 1 slices. Where any distance is no whole multiple, nobody can say: empty.
    """
    with np.errstate(over="ignore"):  # positions of a stranger's file may lie at the ends of what a number holds
        steps = np.diff(np.asarray(positions, float))
    usual = float(np.median(steps)) if steps.size > 1 else 0.0
    if (
        usual <= 0
        or not np.isfinite(steps).all()
        or bool((np.abs(steps / usual - np.round(steps / usual)) > 0.1).any())
    ):
        return []
    missing: list[float] = []
    for start, step in zip(positions, steps, strict=False):
        missing += [start + usual * (k + 1) for k in range(min(round(float(step) / usual) - 1, 1000))]
    return missing
