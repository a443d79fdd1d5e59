"""Masks to RT Structure Set and back, on the grid of a CT."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.ct.series import CtSeries, list_series, load_series
from rtseg_daemon.errors import SeriesError, StructureSetError
from rtseg_daemon.gates.written_file import check
from rtseg_daemon.rtstruct.names import file_stem, unique_names
from rtseg_daemon.rtstruct.reading import boxed, read_structures, structures_on
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from rtseg_daemon.segment.resample import to_image

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr")


class SeriesChoiceError(SeriesError):
    """The folder holds several CT series and none was chosen, or not the one that was asked for."""


@dataclass(frozen=True)
class Converted:
    """What was written, and a line for everything that a person should know of it."""

    written: tuple[Path, ...]
    notes: tuple[str, ...]


def choose_series(folder: Path, wanted: str | None = None) -> list[Path]:
    """Files of the one CT series in `folder`, or of the series `wanted`; raises SeriesChoiceError with the list."""
    found = list_series(folder)
    if not found:
        raise SeriesError(f"{folder} holds no CT images")
    uid = wanted or (next(iter(found)) if len(found) == 1 else "")
    if uid not in found:
        there = "\n".join(f"  {uid}  {len(paths)} images" for uid, paths in found.items())
        raise SeriesChoiceError(f"{folder} holds these CT series; choose one with --series UID:\n{there}")
    return found[uid]


def masks_to_rtstruct(ct_paths: list[Path], masks: Path, out: Path) -> Converted:
    """Write the NIfTI or NRRD masks in the folder `masks`, one per ROI, as one structure set of the CT.

    Raises StructureSetError if there is no mask, one cannot be read, or the written file does not read back.
    """
    files = sorted(p for p in masks.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES))
    if not files:
        raise StructureSetError(f"{masks} holds no masks ({', '.join(SUFFIXES)}), one file per ROI")
    series = load_series(ct_paths)
    names = unique_names([roi_name(path) for path in files])
    organs = [boxed(name, mask_on(series.volume, path), series.volume) for name, path in zip(names, files, strict=True)]
    notes = [
        f"{organ.name}: the mask is empty on this CT; written without contours" for organ in organs if not organ.found
    ]
    notes += [
        f"{path.name} is written as {name}" for name, path in zip(names, files, strict=True) if name != roi_name(path)
    ]
    dataset = build_rtstruct(series, organs, [], derive_identity(series, digest(files), 1), notes=notes)
    write_dataset(dataset, out)
    if reasons := check(out, series, organs):
        raise StructureSetError(f"{out} does not read back as the masks: {'; '.join(reasons)}")
    return Converted((out,), tuple(notes))


def rtstruct_to_masks(ct_paths: list[Path], rtstruct: Path, out: Path) -> Converted:
    """Write every ROI of a structure set as `<name>.nii.gz` in the folder `out`, on the grid of the CT.

    Names are made safe as file names and unique without regard to case; ROIs without a voxel are named in the notes.
    """
    structures = read_structures(rtstruct)
    series = load_series(ct_paths)
    organs, notes = structures_on(series, structures)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for stem, organ in zip(unique_names([file_stem(o.name) for o in organs], longest=64), organs, strict=True):
        if organ.found:
            path = out / f"{stem}.nii.gz"
            write_mask(path, organ, series)
            written.append(path)
    if not written:
        raise StructureSetError(f"{rtstruct.name} has no contours on this CT: {'; '.join(notes)}")
    return Converted(tuple(written), tuple(notes))


def roi_name(path: Path) -> str:
    """File name without its suffixes."""
    lowered = path.name.lower()
    return path.name[: -max(len(suffix) for suffix in SUFFIXES if lowered.endswith(suffix))]


def digest(files: Iterable[Path]) -> str:
    """SHA-256 over names and contents, which makes the structure set's UIDs those of its masks."""
    state = hashlib.sha256()
    for path in files:
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def mask_on(volume: Volume, path: Path) -> Array:
    """The mask at `path` on the grid of `volume` `(z, y, x)`: nearest neighbour in patient space, True above 0.5."""
    try:
        image = sitk.ReadImage(str(path))
        if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
            raise StructureSetError(f"{path.name} is no mask of three dimensions with one value per voxel")
        binary = sitk.Cast(image, sitk.sitkFloat32) > 0.5
    except RuntimeError as error:
        raise StructureSetError(f"{path.name} cannot be read as a mask; is it NIfTI or NRRD?") from error
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(volume.shape)])
    resampler.SetOutputSpacing([float(s) for s in reversed(volume.spacing_mm)])
    resampler.SetOutputOrigin([float(o) for o in reversed(volume.origin_mm)])
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    return np.asarray(sitk.GetArrayFromImage(resampler.Execute(binary)) > 0)


def write_mask(path: Path, organ: Organ, series: CtSeries) -> None:
    """Write one organ as a NIfTI mask of 0 and 1 on the CT's grid."""
    full = np.zeros(series.volume.shape, np.uint8)
    if organ.box is not None and organ.mask is not None:
        full[organ.box.slices] = organ.mask
    sitk.WriteImage(to_image(series.volume.with_array(full)), str(path), useCompression=True)
