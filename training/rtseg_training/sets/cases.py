"""The imported case: one compressed file per patient, the CT as it was received, on its own grid.

Structures may overlap (targets do), so the labels are one bit per structure. A structure's status tells apart what a
mask alone cannot: `drawn`, `empty` (annotated, no voxel), `outside` (outside the field of view). A structure that is
not listed was *not annotated*, and is never taught as background.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Box, Volume, bounding_box, box_of, whole_hu
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
        ct: int16 HU on the native grid, with couch, mask and all: what the daemon would receive.
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

    def mask(self, structure: str, box: Box | None = None) -> Array:
        """Boolean `(z, y, x)` mask, of `box` or of the whole CT. Raises CaseError if it is not annotated here."""
        bits, one = self.bits if box is None else self.bits[box.slices], self.bits.dtype.type
        return np.asarray((bits >> one(self._bit(structure))) & one(1), dtype=bool)

    def box(self, structure: str) -> Box | None:
        """The smallest box that holds a structure, None where it has no voxel. Raises CaseError as `mask` does."""
        bit = self.bits.dtype.type(self._bit(structure))
        profiles = [(profile >> bit) & 1 for profile in self._profiles]
        return box_of(np.concatenate(profiles).astype(bool), self.bits.shape[:2])

    @cached_property
    def _profiles(self) -> list[Array]:
        """The bits that are set in any voxel of each z, y and x: every structure's box from one look at the volume."""
        rows = np.bitwise_or.reduce(self.bits, axis=2)
        columns = np.bitwise_or.reduce(np.bitwise_or.reduce(self.bits, axis=0), axis=0)
        return [np.bitwise_or.reduce(rows, axis=1), np.bitwise_or.reduce(rows, axis=0), columns]

    def _bit(self, structure: str) -> int:
        if structure not in self.structures:
            raise CaseError(f"case {self.name}: {structure} is not annotated")
        return self.structures.index(structure)


def silent(_text: str) -> None:
    """Nobody is told."""


def make_case(
    name: str,
    ct: Volume,
    masks: dict[str, Array],
    status: dict[str, str] | None = None,
    say: Callable[[str], None] = silent,
) -> Case:
    """The whole CT with its masks. A bundle measured on it sees what the daemon would see of this patient.

    What of a mask lies more than 10 mm outside the body's box is cut off. If that is more than half, it was drawn on
    another CT or moved: it is said, and counts as not annotated. Raises CaseError if a mask has another shape than the
    CT, there is no body, or there are more than 64 masks.
    """
    if len(masks) > MOST_STRUCTURES:
        raise CaseError(
            f"case {name}: {len(masks)} structures, at most {MOST_STRUCTURES} fit; give --names a table of fewer organs"
        )
    for structure, mask in masks.items():
        if mask.shape != ct.shape:
            raise CaseError(f"case {name}: {structure} has shape {mask.shape}, the CT {ct.shape}")
    around = body_box(ct)
    if around is None:
        raise CaseError(f"case {name}: no body found in the CT (nothing above -350 HU)")
    kind = np.dtype(np.uint32 if len(masks) <= 32 else np.uint64)
    bits = np.zeros(ct.shape, kind)
    stated: dict[str, str] = {}
    for structure, mask in masks.items():
        whole, inside = int(mask.sum()), int(mask[around.slices].sum())
        if 2 * inside < whole:
            say(f"{structure} is not annotated: {whole - inside} of its {whole} voxels lie outside the body")
            continue
        if inside < whole:
            say(f"{structure}: {whole - inside} of its {whole} voxels lie outside the body and were cut off")
        bits[around.slices] |= np.left_shift(mask[around.slices].astype(kind), kind.type(len(stated)))
        stated[structure] = (status or {}).get(structure, "drawn" if inside else "empty")
    return Case(name, ct.with_array(whole_hu(ct.array)), bits, tuple(stated), stated)


def body_box(ct: Volume) -> Box | None:
    """The box of the body and 10 mm around it, None where there is no body."""
    box = bounding_box(body_mask(ct))
    return None if box is None else box.grown(round(10.0 / min(ct.spacing_mm)), ct.shape)


def body_alone(case: Case) -> Case:
    """The case cut to its body's box, with air around the body."""
    box = body_box(case.ct)
    if box is None:
        raise CaseError(f"case {case.name}: no body found in the CT (nothing above -350 HU)")
    hu = np.where(body_mask(case.ct), case.ct.array, np.int16(AIR_HU))[box.slices]
    return replace(case, ct=case.ct.crop(box).with_array(hu), bits=case.bits[box.slices])


def without(case: Case, structures: Collection[str]) -> Case:
    """The case as if these had not been annotated."""
    kept = tuple(name for name in case.structures if name not in structures)
    if kept == case.structures:
        return case
    kind = case.bits.dtype.type
    bits = np.zeros_like(case.bits)
    for place, name in enumerate(kept):
        bits |= np.left_shift(case.mask(name).astype(case.bits.dtype), kind(place))
    return replace(case, bits=bits, structures=kept, status={name: case.status[name] for name in kept})


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
        "as_received": True,
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
