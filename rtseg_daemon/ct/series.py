"""A CT series as files becomes a volume. Its geometry comes from the files' own coordinates, never from their order."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Grid, Shape, Volume
from rtseg_daemon.ct.headers import SliceHeader, is_ct_image, read_header
from rtseg_daemon.ct.pixels import stored_pixels
from rtseg_daemon.ct.preconditions import (
    EVEN,
    check_series,
    sorted_positions,
    storage_axes,
)
from rtseg_daemon.ct.stacks import z_of
from rtseg_daemon.dicom.files import read_dataset
from rtseg_daemon.errors import SeriesError

DECODERS = 4

LIKE_AIR_HU = 100.0
"""Padding within this of air is air."""

Room = Callable[[Shape, type[Any]], Array]
"""Gives an array of this shape and type, for whoever fills it."""


@dataclass(frozen=True)
class CtImage:
    """One CT image: the file that holds it and what an RTSTRUCT needs to refer to it. `z_mm` is its patient z."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    z_mm: float | None = None


@dataclass(frozen=True)
class CtSeries:
    """A complete CT series.

    Args:
        volume: int16 or float32 HU. Slice k of the array is `instances[k]`, inferior to superior.
        instances: one per slice.
        header: the first instance's data set without its pixels: patient, study, frame of reference, equipment.
        padding: `(z, y, x)`, the voxels that the images mark as outside the scan. They are air in `volume`. None if
            there are none.
    """

    volume: Volume
    instances: tuple[CtImage, ...]
    header: Dataset
    padding: Array | None = None

    @property
    def series_uid(self) -> str:
        return str(self.header.SeriesInstanceUID)

    @property
    def slice_z_mm(self) -> list[float]:
        """Patient z of every slice, as its own file says it, or from the grid where that is unknown."""
        start, step = self.volume.origin_mm[0], self.volume.spacing_mm[0]
        return [start + k * step if one.z_mm is None else one.z_mm for k, one in enumerate(self.instances)]


def list_series(folder: Path) -> dict[str, list[Path]]:
    """CT image files below `folder` by SeriesInstanceUID, paths sorted. Every other file is passed over."""
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            header = read_header(path)
        except SeriesError:
            continue
        if is_ct_image(header):
            found.setdefault(header.series_uid, []).append(path)
    return found


def load_series(paths: Sequence[Path], allow: frozenset[str] = frozenset(), tolerance: float = EVEN) -> CtSeries:
    """`series_of` the headers of these files. Raises SeriesError also where one of them is no DICOM file."""
    return series_of([read_header(path) for path in paths], allow, tolerance)


def series_of(
    headers: Sequence[SliceHeader],
    allow: frozenset[str] = frozenset(),
    tolerance: float = EVEN,
    room: Room = np.empty,
) -> CtSeries:
    """Read the files of one series, in any order, as a volume in patient axes.

    Every precondition in PRECONDITIONS is checked in that order. Raises SeriesError naming the first that fails. Those
    in `allow` are passed over, if they are RELEASABLE: of overlapping acquisitions
    the largest is kept, of slices at one position the first by InstanceNumber.
    `tolerance` is that of slice distances. Contours lie where each slice says it is, however even the grid.
    `room` gives the memory for the voxels, by their shape and type.
    """
    check_series(headers, allow, tolerance)
    slices = sorted_positions(headers)
    volume = _empty_volume(slices, room)
    marked = any(header.padding for header in slices)
    padding = np.zeros(volume.shape if marked else (len(slices), 0, 0), bool)
    jobs = [(header, volume.array[k], padding[k]) for k, header in enumerate(slices)]
    with ThreadPoolExecutor(DECODERS) as pool:
        for _ in pool.map(lambda job: _decode_into(*job), jobs):
            pass
    instances = tuple(CtImage(h.path, h.sop_class_uid, h.sop_instance_uid, h.z_mm) for h in slices)
    header = read_dataset(slices[0].path, pixels=False)
    return CtSeries(volume, instances, header, padding if padding.any() else None)


# --- from stored pixels to patient axes ------------------------------------------------------------------------------

Fact = TypeVar("Fact")


def known(fact: Fact | None) -> Fact:
    """A fact that check_series has found to be there."""
    if fact is None:
        raise SeriesError("a slice lacks a fact that was checked before; check the series first")
    return fact


def grid_of_slices(slices: Sequence[SliceHeader]) -> Grid:
    """The grid of slices that `check_series` let pass, sorted from inferior to superior."""
    first = slices[0]
    row_axis, row_sign, _, column_sign = storage_axes(known(first.orientation)) or (0, 1, 1, 1)
    between_rows, between_columns = known(first.pixel_spacing_mm)
    along_row = (row_sign, between_columns, first.columns)
    along_column = (column_sign, between_rows, first.rows)
    x, y = (along_row, along_column) if row_axis == 0 else (along_column, along_row)
    origin = [
        p - (n - 1) * s if sign < 0 else p for p, (sign, s, n) in zip(known(first.position_mm), (x, y), strict=False)
    ]
    z = [z_of(h) for h in slices]
    spacing = ((z[-1] - z[0]) / (len(z) - 1), y[1], x[1])
    return Grid((len(slices), y[2], x[2]), spacing, (z[0], origin[1], origin[0]))


def _empty_volume(slices: Sequence[SliceHeader], room: Room) -> Volume:
    """The volume's grid and its memory, still without values."""
    grid = grid_of_slices(slices)
    whole_hu = all(float(h.slope or 0).is_integer() and float(h.intercept or 0).is_integer() for h in slices)
    return Volume(room(grid.shape, np.int16 if whole_hu else np.float32), grid.spacing_mm, grid.origin_mm)


def _decode_into(header: SliceHeader, target: Array, padding: Array) -> None:
    """HU of one file, turned to (y, x) in patient axes, written into `target`, and its padding into `padding`."""
    wanted = None if UID(header.transfer_syntax_uid).is_compressed else ("PixelData",)
    pixels = stored_pixels(read_dataset(header.path, pixels=True, keywords=wanted), header)
    padded = None if pixels.padded is None or _stands_for_air(header) else pixels.padded
    _rescale_into(_in_patient_axes(target, header), pixels.values, padded, header)
    if padded is not None:
        _in_patient_axes(target, header)[padded] = AIR_HU
        _in_patient_axes(padding, header)[...] = padded


def _in_patient_axes(plane: Array, header: SliceHeader) -> Array:
    """A slice `(y, x)` in patient axes as the image is stored (rows, columns), on the same memory."""
    row_axis, row_sign, _, column_sign = storage_axes(known(header.orientation)) or (0, 1, 1, 1)
    return (plane if row_axis == 0 else plane.T)[::column_sign, ::row_sign]


def _stands_for_air(header: SliceHeader) -> bool:
    """Whether the padding's own HU are those of air: such pixels are like any others."""
    slope, intercept = known(header.slope), known(header.intercept)
    return header.padding is not None and all(
        abs(value * slope + intercept - AIR_HU) <= LIKE_AIR_HU for value in header.padding
    )


def _rescale_into(view: Array, values: Array, padded: Array | None, header: SliceHeader) -> None:
    """Write the HU of stored `values` into `view`. Raises SeriesError if those that are no padding cannot be HU."""
    slope, intercept = known(header.slope), known(header.intercept)
    if view.dtype == np.float32:
        view[...] = values * np.float32(slope) + np.float32(intercept)
        return
    judged = values if padded is None else values[~padded]
    ends = sorted(int(v) * int(slope) + int(intercept) for v in (judged.min(), judged.max())) if judged.size else [0]
    if ends[0] < -32768 or ends[-1] > 32767:
        raise SeriesError(f"values: {ends[0]} to {ends[-1]} HU cannot be; check the scanner's rescale", "values")
    view[...] = wrapped(values)
    if slope != 1:
        view *= wrapped(np.array(int(slope)))
    view += wrapped(np.array(int(intercept)))


def wrapped(values: Array) -> Array:
    """Integers modulo 2^16 as int16: sums and products of them are right wherever their true result fits."""
    return values.astype(np.int16)
