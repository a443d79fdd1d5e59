"""The cached case: one compressed file per patient, cropped to the body, on the CT's own grid.

Structures may overlap (targets do), so the labels are one bit per structure. A structure's status tells apart what a
mask alone cannot: `drawn`, `empty` (annotated, no voxel), `outside` (outside the field of view). A structure that is
not listed was *not annotated*, and is never taught as background.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rtseg_daemon.segment.transforms import AIR_HU, body_mask
from rtseg_daemon.segment.volume import Array, Volume, bounding_box
from rtseg_training.errors import CaseError

STATUSES = ("drawn", "empty", "outside")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Case:
    """One patient: CT in HU and the structures drawn on it.

    Args:
        name: identifier inside the data set, no patient data.
        ct: int16 HU on the native grid, cropped to the body.
        bits: uint32 `(z, y, x)`; bit k of a voxel is set where structures[k] covers it.
        structures: names (TG-263), in bit order.
        status: per structure one of `drawn`, `empty`, `outside`.
    """

    name: str
    ct: Volume
    bits: Array
    structures: tuple[str, ...]
    status: dict[str, str] = field(default_factory=dict)

    def mask(self, structure: str) -> Array:
        """Boolean `(z, y, x)` mask; raises CaseError if the structure is not annotated here."""
        if structure not in self.structures:
            raise CaseError(f"case {self.name}: {structure} is not annotated")
        return np.asarray((self.bits >> np.uint32(self.structures.index(structure))) & 1, dtype=bool)


def make_case(name: str, ct: Volume, masks: dict[str, Array], status: dict[str, str] | None = None) -> Case:
    """Crop `ct` and its `masks` to the body (10 mm around it) and set everything outside the body to air.

    Raises CaseError if a mask has another shape than the CT, there is no body, or there are more than 32 masks.
    """
    if len(masks) > 32:
        raise CaseError(f"case {name}: {len(masks)} structures, at most 32 fit; choose fewer")
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
    bits = np.zeros(box.shape, np.uint32)
    for k, mask in enumerate(masks.values()):
        bits |= mask[box.slices].astype(np.uint32) << np.uint32(k)
    stated = {s: "drawn" if m.any() else "empty" for s, m in masks.items()} | (status or {})
    clean = ct.crop(box).with_array(np.clip(np.rint(hu), -1024, 8000).astype(np.int16))
    return Case(name, clean, bits, tuple(masks), stated)


def save_case(case: Case, folder: Path) -> dict[str, object]:
    """Write `<folder>/<name>.npz` whole or not at all; returns its manifest entry."""
    path = folder / f"{case.name}.npz"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file, ct=case.ct.array, bits=case.bits, spacing_mm=case.ct.spacing_mm, origin_mm=case.ct.origin_mm
        )
    partial.replace(path)
    return {
        "name": case.name,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "structures": list(case.structures),
        "status": case.status,
        "shape": list(case.ct.shape),
        "spacing_mm": list(case.ct.spacing_mm),
    }


def write_manifest(folder: Path, entries: list[dict[str, object]], source: str, left_out: list[str]) -> None:
    """List the data set: one entry per case, where it came from, and what was left out and why."""
    document = {"format": 1, "source": source, "cases": entries, "left_out": left_out}
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(document, indent=1))
    partial.replace(folder / MANIFEST)


def read_manifest(folder: Path) -> list[dict[str, object]]:
    """The entries of a data set; raises CaseError if `folder` holds none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CaseError(f"{folder} has no {MANIFEST}; make the data set with `rtseg-train import`")
    cases: list[dict[str, object]] = json.loads(path.read_text())["cases"]
    return cases


def load_case(folder: Path, entry: dict[str, object]) -> Case:
    """Read one case of a manifest; raises CaseError if the file was altered or is damaged."""
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
        return Case(str(entry["name"]), ct, data["bits"], tuple(structures), status)


def load_cases(folder: Path) -> list[Case]:
    """Every case of the data set in `folder`, in the manifest's order."""
    return [load_case(folder, entry) for entry in read_manifest(folder)]
