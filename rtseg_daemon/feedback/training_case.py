"""One case as `rtseg-train` reads it: the CT and one bit for each organ, without name, date or identifier."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Volume, whole_hu
from rtseg_daemon.ct.geometry import Geometry
from rtseg_daemon.ct.headers import read_header, split_images
from rtseg_daemon.ct.preconditions import RELEASABLE
from rtseg_daemon.ct.series import CtSeries, series_of
from rtseg_daemon.errors import ExchangeError, FeedbackError, SeriesError, StorageError, StructureSetError
from rtseg_daemon.feedback.contours import drawn_on
from rtseg_daemon.feedback.eligible import Wanted
from rtseg_daemon.rtstruct.reading import Structure, read_structures
from rtseg_daemon.storage import check_files, damage, write_durably
from rtseg_daemon.stored import Files, Stored, digested

MOST_ORGANS = 64
"""One bit each."""

Entry = dict[str, Any]
"""A case in the manifest of a data set."""


def case_name(series_uid: str) -> str:
    """A name that says nothing of the patient. `rtseg-train import` gives the same one to the same CT."""
    return "ct_" + hashlib.sha256(series_uid.encode()).hexdigest()[:12]


def read_ct(case: Wanted, files: Files) -> CtSeries:
    """The CT of a case. Raises FeedbackError where its images are gone, altered or no volume."""
    if not case.files:
        raise FeedbackError("retention has removed its images; export more often, or keep them longer")
    try:
        images_here = digested(files, case.files)
        check_files(images_here, "have the series sent again")
        images, _ = split_images([read_header(path) for path, _ in images_here])
        return series_of(images, allow=RELEASABLE)
    except (SeriesError, StorageError, ExchangeError) as error:
        raise FeedbackError(str(error)) from error


def masks_of(case: Wanted, files: Files, geometry: Geometry) -> dict[str, Array]:
    """The approved contours `(z, y, x)` on the CT's grid, by organ. Raises FeedbackError where a file is damaged."""
    found: dict[str, Array] = {}
    read: dict[Stored, dict[int, Structure]] = {}
    for contour in case.contours:
        if contour.file not in read:
            read[contour.file] = structures_in(*here(files, contour.file))
        structure = read[contour.file].get(contour.number)
        if structure is None:
            continue
        referring = bool(structure.images & set(geometry.sop_instance_uids))
        drawn = drawn_on(geometry, structure, referring)
        if not drawn.misfit and drawn.mask.any():
            found[contour.organ] = drawn.mask
    if not found:
        raise FeedbackError("none of its contours lies on its CT")
    return found


def here(files: Files, stored: Stored) -> tuple[Path, str]:
    """Path and SHA-256 of a file. Raises FeedbackError where the host that has it does not answer."""
    try:
        return digested(files, [stored])[0]
    except (ExchangeError, StorageError) as error:
        raise FeedbackError(str(error)) from error


def structures_in(path: Path, sha256: str) -> dict[int, Structure]:
    """The ROIs of a structure set by their numbers. Raises FeedbackError where the file is gone or altered."""
    if problem := damage(path, sha256):
        raise FeedbackError(f"the structure set that came back {problem}")
    try:
        return {one.number: one for one in read_structures(path)}
    except StructureSetError as error:
        raise FeedbackError(str(error)) from error


def write_case(name: str, ct: Volume, masks: Mapping[str, Array], folder: Path) -> Entry:
    """Write `NAME-DIGEST.npz` durably. Returns its entry in the manifest. Raises OSError where that is not possible."""
    kind = np.dtype(np.uint32 if len(masks) <= 32 else np.uint64)
    bits = np.zeros(ct.shape, kind)
    for place, mask in enumerate(masks.values()):
        bits |= np.left_shift(mask.astype(kind), kind.type(place))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, ct=whole_hu(ct.array), bits=bits, spacing_mm=ct.spacing_mm, origin_mm=(0.0, 0.0, 0.0))
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:8]}.npz"
    write_durably(folder / file, content, mode=0o600)
    return {
        "name": name,
        "file": file,
        "sha256": digest,
        "structures": list(masks),
        "status": dict.fromkeys(masks, "drawn"),
        "shape": list(ct.shape),
        "as_received": True,
        "spacing_mm": list(ct.spacing_mm),
    }
