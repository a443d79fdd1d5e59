"""Which files of a DICOM series are its images: no localizers or reports, and one file of each image."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.headers import SliceHeader, split_images
from rtseg_daemon.ct.pixels import stored_values
from rtseg_daemon.dicom.files import read_dataset
from rtseg_training.errors import CaseError

FACTS = ("position_mm", "orientation", "pixel_spacing_mm", "rows", "columns", "frame_uid")
"""What two files of one image must have in common, beside their pixels."""


def chosen_images(
    headers: Sequence[SliceHeader], place: str, say: Callable[[str], None], called: Callable[[Path], str]
) -> list[SliceHeader]:
    """The axial images among `headers`, the first file of each. `say` takes what was passed over.

    Args:
        place: what the folder is called in errors. `called` gives the same for a file.

    Raises CaseError if there are none, or two files of one image differ, SeriesError for pixels that cannot be read.
    """
    images, dropped = split_images(headers)
    others = f"{len(dropped)} localizers, reports or screens"
    if not images:
        raise CaseError(f"CT in {place} holds no axial images, only {others}")
    if dropped:
        say(f"left out of its CT series: {others}")
    kept: dict[str, SliceHeader] = {}
    twice: set[str] = set()
    for header in images:
        first = kept.setdefault(header.sop_instance_uid, header)
        if first is header:
            continue
        twice.add(header.sop_instance_uid)
        if what := difference(first, header):
            raise CaseError(
                f"CT in {place}: {called(first.path)} and {called(header.path)} are one image by their SOPInstanceUID, "
                f"but differ in {what}; keep the right one in the tree, import again"
            )
    if twice:
        say(f"{len(twice)} of its CT images lie in more than one file; one of each was taken")
    return list(kept.values())


def difference(one: SliceHeader, other: SliceHeader) -> str:
    """In what two files of one image differ: geometry, or HU, empty where in neither."""
    if one.path.read_bytes() == other.path.read_bytes():
        return ""
    for fact in FACTS:
        if not alike(getattr(one, fact), getattr(other, fact)):
            return fact.removesuffix("_mm").replace("_", " ")
    return "" if np.allclose(hu_of(one), hu_of(other), rtol=0, atol=0.01) else "pixels"


def alike(one: object, other: object) -> bool:
    """Whether two facts are the same, numbers to a thousandth: systems write them with more or fewer digits."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and bool(np.allclose(one, other, rtol=0, atol=1e-3))
    return one == other


def hu_of(header: SliceHeader) -> Array:
    """HU `(rows, columns)` of one file, or stored values where it does not say how they become HU."""
    stored = stored_values(read_dataset(header.path, pixels=True), header).astype(np.float64)
    return np.asarray(stored * (header.slope or 1.0) + (header.intercept or 0.0))
