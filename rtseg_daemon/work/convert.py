"""Masks to RT Structure Set and back, on the grid of a CT."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from rtseg_daemon.anatomy.image import to_image
from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import CtSeries, list_series, load_series
from rtseg_daemon.errors import SeriesError, StructureSetError
from rtseg_daemon.gates.written_file import differences
from rtseg_daemon.rtstruct.names import unique_names, unique_stems
from rtseg_daemon.rtstruct.reading import boxed, read_structures, structures_on
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from rtseg_daemon.work.masks import SUFFIXES, mask_files, masks_in, told


class SeriesChoiceError(SeriesError):
    """The folder holds several CT series and none was chosen, or not the one that was asked for."""


@dataclass(frozen=True)
class Converted:
    """What was written, and a line for everything that a person should know of it."""

    written: tuple[Path, ...]
    notes: tuple[str, ...]


def choose_series(folder: Path, wanted: str | None = None) -> list[Path]:
    """Files of the one CT series in `folder`, or of the series `wanted`. Raises SeriesChoiceError with the list."""
    found = list_series(folder)
    if not found:
        raise SeriesError(f"{folder} holds no CT images")
    uid = wanted or (next(iter(found)) if len(found) == 1 else "")
    if uid not in found:
        there = "\n".join(f"  {uid}  {len(paths)} images" for uid, paths in found.items())
        raise SeriesChoiceError(f"{folder} holds these CT series; choose one with --series UID:\n{there}")
    return found[uid]


def masks_to_rtstruct(ct_paths: list[Path], masks: Path, out: Path) -> Converted:
    """Write the NIfTI or NRRD masks in the folder `masks`, one per ROI or maps of labels, as one structure set.

    A file that is no mask is left out with its reason. Raises StructureSetError if there is no mask, or the written
    file does not read back.
    """
    files, notes = mask_files(masks)
    if not files:
        raise StructureSetError(f"{masks} holds no masks ({', '.join(SUFFIXES)}), one file per ROI")
    series = load_series(ct_paths)
    found, faults = read_masks(files, series.volume)
    if not found:
        raise StructureSetError("; ".join(faults))
    names = iter(unique_names([organ.name for organs in found.values() for organ in organs]))
    organs = []
    for path, read in found.items():
        named = [replace(organ, name=next(names)) for organ in read]
        notes += told(path, [organ.name for organ in read], [organ.name for organ in named])
        organs += named
    notes += [f"{fault}; left out" for fault in faults]
    notes += [f"{o.name}: the mask is empty on this CT; written without contours" for o in organs if not o.found]
    dataset = build_rtstruct(series, organs, [], derive_identity(series, digest(found), 1), notes=notes)
    write_dataset(dataset, out)
    if reasons := differences(out, series, organs):
        raise StructureSetError(f"{out} does not read back as the masks: {'; '.join(reasons)}")
    return Converted((out,), tuple(notes))


def read_masks(files: Iterable[Path], volume: Volume) -> tuple[dict[Path, list[Organ]], list[str]]:
    """What every file holds, on the CT's grid, and the reasons against those that cannot be read."""
    found: dict[Path, list[Organ]] = {}
    faults = []
    for path in files:
        try:
            found[path] = [boxed(name, mask, volume) for name, mask in masks_in(path, volume)]
        except StructureSetError as error:
            faults.append(str(error))
    return found, faults


def rtstruct_to_masks(ct_paths: list[Path], rtstruct: Path, out: Path) -> Converted:
    """Write every ROI of a structure set as `<name>.nii.gz` in the folder `out`, on the grid of the CT.

    Names are made safe as file names and unique without regard to case. ROIs whose file has another name and those
    without a voxel are named in the notes.
    """
    structures = read_structures(rtstruct)
    series = load_series(ct_paths)
    organs, notes = structures_on(series, structures)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for stem, organ in zip(unique_stems(organ.name for organ in organs), organs, strict=True):
        if organ.found:
            path = out / f"{stem}.nii.gz"
            write_mask(path, organ, series)
            written.append(path)
            notes += [f"{organ.name!r} is written as {path.name}"] if stem != organ.name else []
    if not written:
        raise StructureSetError(f"{rtstruct.name} has no contours on this CT: {'; '.join(notes)}")
    return Converted(tuple(written), tuple(notes))


def digest(files: Iterable[Path]) -> str:
    """SHA-256 over names and contents, which makes the structure set's UIDs those of its masks."""
    state = hashlib.sha256()
    for path in files:
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def write_mask(path: Path, organ: Organ, series: CtSeries) -> None:
    """Write one organ as a NIfTI mask of 0 and 1 on the CT's grid."""
    full = np.zeros(series.volume.shape, np.uint8)
    if organ.box is not None and organ.mask is not None:
        full[organ.box.slices] = organ.mask
    sitk.WriteImage(to_image(series.volume.with_array(full)), str(path), useCompression=True)
