"""The cached case: one compressed file per patient, cropped to the body, on the CT's own grid.

Structures may overlap (targets do), so the labels are one bit per structure. A structure's status tells apart what a
mask alone cannot: `drawn`, `empty` (annotated, no voxel), `outside` (outside the field of view). A structure that is
not listed was *not annotated*, and is never taught as background.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Volume, bounding_box
from rtseg_daemon.segment.body import body_mask
from rtseg_training.errors import CaseError
from rtseg_training.sets.manifest import Entry, patient_of

STATUSES = ("drawn", "empty", "outside")
MOST_STRUCTURES = 64
"""One bit each: uint32 for up to 32, else uint64."""


@dataclass(frozen=True)
class Case:
    """One patient: CT in HU and the structures drawn on it.

    Args:
        name: identifier inside the data set, no patient data.
        ct: int16 HU on the native grid, cropped to the body.
        bits: uint32 or uint64 `(z, y, x)`. Bit k of a voxel is set where structures[k] covers it.
        structures: names (TG-263), in bit order.
        status: per structure one of `drawn`, `empty`, `outside`.
        patient: digest of the patient, empty where unknown.
    """

    name: str
    ct: Volume
    bits: Array
    structures: tuple[str, ...]
    status: dict[str, str] = field(default_factory=dict)
    patient: str = ""

    def mask(self, structure: str) -> Array:
        """Boolean `(z, y, x)` mask. Raises CaseError if the structure is not annotated here."""
        if structure not in self.structures:
            raise CaseError(f"case {self.name}: {structure} is not annotated")
        return np.asarray((self.bits >> self.bits.dtype.type(self.structures.index(structure))) & 1, dtype=bool)


def silent(_text: str) -> None:
    """Nobody is told."""


def make_case(
    name: str,
    ct: Volume,
    masks: dict[str, Array],
    status: dict[str, str] | None = None,
    say: Callable[[str], None] = silent,
) -> Case:
    """Crop `ct` and its `masks` to the body (10 mm around it) and set everything outside the body to air.

    A mask of which less than half lies in that box was drawn on another CT or moved: it is said, and counts as not
    annotated. Raises CaseError if a mask has another shape than the CT, there is no body, or there are more than 64
    masks.
    """
    if len(masks) > MOST_STRUCTURES:
        raise CaseError(
            f"case {name}: {len(masks)} structures, at most {MOST_STRUCTURES} fit; give --names a table of fewer organs"
        )
    for structure, mask in masks.items():
        if mask.shape != ct.shape:
            raise CaseError(f"case {name}: {structure} has shape {mask.shape}, the CT {ct.shape}")
    body = body_mask(ct)
    box = bounding_box(body)
    if box is None:
        raise CaseError(f"case {name}: no body found in the CT (nothing above -350 HU)")
    margin = round(10.0 / min(ct.spacing_mm))
    box = box.grown(margin, ct.shape)
    hu = np.where(body, ct.array, AIR_HU)[box.slices]
    kind = np.dtype(np.uint32 if len(masks) <= 32 else np.uint64)
    bits = np.zeros(box.shape, kind)
    stated: dict[str, str] = {}
    for structure, mask in masks.items():
        whole, inside = int(mask.sum()), int(mask[box.slices].sum())
        if 2 * inside < whole:
            say(f"{structure} is not annotated: {whole - inside} of its {whole} voxels lie outside the body")
            continue
        if inside < whole:
            say(f"{structure}: {whole - inside} of its {whole} voxels lie outside the body and were cut off")
        bits |= np.left_shift(mask[box.slices].astype(kind), kind.type(len(stated)))
        stated[structure] = (status or {}).get(structure, "drawn" if inside else "empty")
    clean = ct.crop(box).with_array(np.clip(np.rint(hu), -1024, 8000).astype(np.int16))
    return Case(name, clean, bits, tuple(stated), stated)


def save_case(case: Case, folder: Path, file: str = "") -> Entry:
    """Write `<folder>/<name>.npz`, or another `file` there, whole or not at all. Returns its manifest entry.

    Raises CaseError on a full disk.
    """
    path = folder / (file or f"{case.name}.npz")
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as target:
            np.savez_compressed(
                target, ct=case.ct.array, bits=case.bits, spacing_mm=case.ct.spacing_mm, origin_mm=case.ct.origin_mm
            )
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CaseError(f"case {case.name}: {path} cannot be written ({error.strerror})") from error
    return {
        "name": case.name,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "structures": list(case.structures),
        "status": case.status,
        "shape": list(case.ct.shape),
        "spacing_mm": list(case.ct.spacing_mm),
    }


def load_case(folder: Path, entry: Entry) -> Case:
    """Read one case of a manifest. Raises CaseError if the file was altered or is damaged."""
    path = folder / str(entry["file"])
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
        raise CaseError(f"case {entry['name']}: {path} is missing or was altered; import the data set again")
    with np.load(path) as data:
        spacing, origin = data["spacing_mm"].tolist(), data["origin_mm"].tolist()
        ct = Volume(data["ct"], (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))
        structures = entry["structures"]
        status = entry["status"]
        assert isinstance(structures, list)
        assert isinstance(status, dict)
        return Case(str(entry["name"]), ct, data["bits"], tuple(structures), status, patient_of(entry))
