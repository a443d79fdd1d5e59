"""Mask files as they come: one organ each or a map of labels, among files that are none."""

import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from rtseg_daemon.anatomy.called import LONGEST_NAME
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.errors import StructureSetError

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr")
MOST_LABELS = 256
"""A map of all organs has some 120. What holds more different values is an image."""

NIFTI_HEADER_BYTES = 352
LARGEST_EXTENSION_BYTES = 2**20
LABEL_ENTRY = re.compile(r'<Label\s[^>]*?Key="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?([^<\]]+)')
"""A label's name in the table that segmentation programs put into a NIfTI file (an extension of its header)."""


@dataclass(frozen=True)
class LabelImage:
    """A file's labels on its own grid: one image per layer, and (layer, value) of each label with its name."""

    layers: tuple[sitk.Image, ...]
    labels: dict[tuple[int, int], str]


def mask_files(folder: Path) -> tuple[list[Path], list[str]]:
    """The mask files of a folder, sorted, and a line for each hidden file that is passed over.

    Other systems leave files beside each mask that have its suffix and are none (`._Parotid_L.nii.gz`).
    """
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES))
    notes = [f"{path.name} is a hidden file and was passed over" for path in found if path.name.startswith(".")]
    return [path for path in found if not path.name.startswith(".")], notes


def roi_name(path: Path) -> str:
    """File name without its suffixes."""
    lowered = path.name.lower()
    return path.name[: -max(len(suffix) for suffix in SUFFIXES if lowered.endswith(suffix))]


def masks_in(path: Path, volume: Volume) -> list[tuple[str, Array]]:
    """Name and mask `(z, y, x)` on the grid of `volume` of everything in a file, by nearest neighbour in patient space.

    A file with one value beside 0 is one ROI of the file's name. Several values, or named segments, are one each.
    Raises StructureSetError with the reason where it is no mask.
    """
    image = readable_image(path)
    found = segments(image, path) or labels_by_value(image, path)
    layers = [resampled(layer, volume) for layer in found.layers]
    return [(name, layers[layer] == value) for (layer, value), name in found.labels.items()]


def readable_image(path: Path) -> sitk.Image:
    """The image of three dimensions at `path`. Raises StructureSetError with the reason where there is none."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise StructureSetError(f"{path.name}: {reading_fault(str(error))}") from error
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = sitk.Extract(image, [*image.GetSize()[:-1], 0])
    if image.GetDimension() != 3:
        raise StructureSetError(f"{path.name} has {image.GetDimension()} dimensions; a mask has three")
    return image


def reading_fault(message: str) -> str:
    """Why an image could not be read, from what the library says."""
    if "orthonormal" in message:
        return "its axes are not at right angles (not orthonormal); save the mask on the CT's grid"
    if "memory" in message.lower():
        return "it does not fit the memory"
    return "it cannot be read as a mask; is it NIfTI or NRRD, and whole?"


def segments(image: sitk.Image, path: Path) -> LabelImage | None:
    """The named segments of a segmentation file of 3D Slicer, which may lie in several layers, else None."""
    keys = set(image.GetMetaDataKeys())
    numbers = sorted(int(key[7:-5]) for key in keys if re.fullmatch(r"Segment\d+_Name", key))
    if not numbers:
        return None

    def said(number: int, what: str, otherwise: int) -> int:
        key = f"Segment{number}_{what}"
        text = image.GetMetaData(key).strip() if key in keys else ""
        return int(text) if text.isdecimal() else otherwise

    count = image.GetNumberOfComponentsPerPixel()
    labels = {
        (said(n, "Layer", 0), said(n, "LabelValue", n + 1)): image.GetMetaData(f"Segment{n}_Name").strip()
        for n in numbers
    }
    if any(layer >= count for layer, _ in labels) or len(labels) < len(numbers):
        raise StructureSetError(f"{path.name}: its segments do not fit its layers; save it again")
    layers = [sitk.VectorIndexSelectionCast(image, k) for k in range(count)] if count > 1 else [image]
    return LabelImage(tuple(whole_numbers(layer, path) for layer in layers), labels)


def labels_by_value(image: sitk.Image, path: Path) -> LabelImage:
    """One ROI of the file's name where there is one value beside 0, else one per value."""
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise StructureSetError(f"{path.name} has several values per voxel and names no segments; it is no mask")
    array = np.nan_to_num(sitk.GetArrayViewFromImage(image))
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high <= 1:
        binary = sitk.Cast(sitk.Cast(image, sitk.sitkFloat32) > 0.5, sitk.sitkInt32)
        return LabelImage((binary,), {(0, 1): roi_name(path)})
    if low < 0:
        raise StructureSetError(f"{path.name} holds negative values; is it an image?")
    labels = whole_numbers(image, path)
    values = present(sitk.GetArrayViewFromImage(labels), path)
    if len(values) == 1:
        return LabelImage((labels,), {(0, values[0]): roi_name(path)})
    names = label_table(path)
    return LabelImage((labels,), {(0, value): names.get(value) or numbered(path, value) for value in values})


def whole_numbers(image: sitk.Image, path: Path) -> sitk.Image:
    """The image as integers. Raises StructureSetError where it holds others."""
    array = np.nan_to_num(sitk.GetArrayViewFromImage(image))
    if array.max(initial=0) >= 2**31 or (array.dtype.kind == "f" and bool((array != np.rint(array)).any())):
        raise StructureSetError(f"{path.name} holds values that are no labels; is it an image?")
    labels = sitk.GetImageFromArray(array.astype(np.int32))
    labels.CopyInformation(image)
    return labels


def present(labels: Array, path: Path) -> list[int]:
    """The labels that occur, without 0. Raises StructureSetError where they are too many for a mask."""
    values = np.unique(labels[labels != 0])
    if values.size > MOST_LABELS:
        raise StructureSetError(f"{path.name} holds {values.size} different values; is it an image?")
    return [int(value) for value in values]


def numbered(path: Path, value: int) -> str:
    """The file's name, cut so that the label's number is not."""
    return f"{roi_name(path)[: LONGEST_NAME - len(str(value)) - 1]}_{value}"


def label_table(path: Path) -> dict[int, str]:
    """Names of labels from the table in a NIfTI file's header extension, empty where there is none."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return {}
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            head = stream.read(NIFTI_HEADER_BYTES + LARGEST_EXTENSION_BYTES)
    except (OSError, EOFError, zlib.error):
        return {}
    kind = "<f4" if head[:4] == (348).to_bytes(4, "little") else ">f4"
    start = float(np.frombuffer(head, kind, 1, 108)[0])
    text = head[NIFTI_HEADER_BYTES : int(min(max(start, 0.0), len(head)))].decode("utf-8", "replace")
    return {int(value): name.strip() for value, name in LABEL_ENTRY.findall(text) if name.strip()}


def resampled(image: sitk.Image, volume: Volume) -> Array:
    """Labels `(z, y, x)` on the grid of `volume`, nearest neighbour in patient space, 0 outside of the image."""
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in reversed(volume.shape)])
    resampler.SetOutputSpacing([float(s) for s in reversed(volume.spacing_mm)])
    resampler.SetOutputOrigin([float(o) for o in reversed(volume.origin_mm)])
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    return np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)))


def told(path: Path, labels: Sequence[str], written: Sequence[str]) -> list[str]:
    """A line for each ROI of a file that is not called like the file."""
    if len(labels) == 1:
        return [f"{path.name} is written as {name}" for name in written if name != roi_name(path)]
    return [
        f"{path.name} is a map of {len(labels)} labels: {label} is written as {name}"
        for label, name in zip(labels, written, strict=True)
    ]
