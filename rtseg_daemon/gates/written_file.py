"""The gate after writing: the file is read again by code that shares nothing with the writer's geometry.

Every point is taken from the file, turned into stored pixels with the CT files' own position, orientation and spacing,
filled by the pixel-centre rule (`skimage.draw.polygon`) and compared with the organ's mask in patient coordinates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from pydicom import Dataset
from skimage.draw import polygon

from rtseg_daemon.anatomy.organ import Organ, rings_to_send
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.ct.headers import SliceHeader, read_header
from rtseg_daemon.ct.series import CtSeries
from rtseg_daemon.rtstruct.names import names_of_rois

LEAST_DICE = 0.99
LEAST_DICE_SMALL = 0.97
SMALL_ML = 1.0
ON_SLICE_MM = 0.01
BAND_ROWS = 8
"""`polygon` asks every pixel about every edge. A long contour is given to it in bands of so many rows."""
LONG_CONTOUR = 500


@dataclass(frozen=True)
class Plane:
    """One CT image as its own file describes it, and which slice of the volume it is."""

    header: SliceHeader
    index: int


def differences(
    path: Path,
    series: CtSeries,
    organs: Sequence[Organ],
    *,
    rejected: Literal["omit", "send"] = "omit",
    only: Iterable[str] = (),
    roi_names: Mapping[str, str] | None = None,
    rings: Sequence[Organ] = (),
) -> list[str]:
    """Reasons against delivering the file at `path` as the contours of `organs`, or none if it is right.

    The other arguments are those the file was built with (see `rtstruct.build_rtstruct`).
    """
    dataset = pydicom.dcmread(path)
    planes = {one.sop_instance_uid: Plane(read_header(one.path), k) for k, one in enumerate(series.instances)}
    wanted = set(only)
    chosen = [organ for organ in organs if not wanted or organ.name in wanted]
    around = rings_to_send(rings, chosen, rejected)
    names = names_of_rois([organ.name for organ in chosen], [ring.name for ring in around], roi_names or {})
    expected = [organ if organ.sent(rejected) else None for organ in chosen] + around
    reasons = reference_reasons(dataset, series, planes)
    written = {str(roi.ROIName): contours_of(dataset, int(roi.ROINumber)) for roi in dataset.StructureSetROISequence}
    for name, organ in zip(names, expected, strict=True):
        if name in written:
            reasons += organ_reasons(name, written[name], organ, series.volume, planes)
        else:
            reasons.append(f"{name}: the file has no such ROI")
    return reasons + [f"{name}: nobody asked for this ROI" for name in written.keys() - set(names)]


def reference_reasons(dataset: Dataset, series: CtSeries, planes: Mapping[str, Plane]) -> list[str]:
    """Same patient, study and frame of reference. The file refers to the series' images, all of them and no others."""
    reasons = []
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        if dataset.get(keyword) != series.header.get(keyword):
            reasons.append(f"{keyword} is not the CT's")
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    if {frame.FrameOfReferenceUID, *(r.ReferencedFrameOfReferenceUID for r in dataset.StructureSetROISequence)} != {
        series.header.FrameOfReferenceUID
    }:
        reasons.append("an ROI lies in another frame of reference than the CT")
    referenced = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    if {image.ReferencedSOPInstanceUID for image in referenced.ContourImageSequence} != set(planes):
        reasons.append("the images referred to are not the images of the series")
    return reasons


def contours_of(dataset: Dataset, number: int) -> list[Dataset]:
    """The contours of the ROI `number`, in the file's order."""
    return [
        contour
        for item in dataset.ROIContourSequence
        if int(item.ReferencedROINumber) == number
        for contour in item.get("ContourSequence") or []
    ]


def organ_reasons(
    name: str, contours: Sequence[Dataset], organ: Organ | None, volume: Volume, planes: Mapping[str, Plane]
) -> list[str]:
    """Reasons against one ROI. `organ` is None where none of its contours may be in the file."""
    if organ is None or organ.mask is None or organ.box is None:
        return [f"{name}: has contours though it is rejected or was not found"] if contours else []
    filled: dict[int, list[tuple[Array, Array]]] = {}
    for contour in contours:
        plane = planes.get(str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID))
        points = points_of(contour)
        if fault := contour_fault(contour, points, plane):
            return [f"{name}: {fault}"]
        assert plane is not None
        filled.setdefault(plane.index, []).append(fill(points, plane, volume))
    dice = least_dice(filled, organ, volume)
    least = LEAST_DICE if organ.volume_ml >= SMALL_ML else LEAST_DICE_SMALL
    return [f"{name}: read back it overlaps by Dice {dice:.3f}, at least {least} is needed"] if dice < least else []


def points_of(contour: Dataset) -> Array:
    """ContourData as (n, 3) patient coordinates in mm, parsed from the bytes of the file."""
    raw = contour.get_item("ContourData").value
    text = raw.decode("ascii") if isinstance(raw, bytes) else "\\".join(map(str, raw))
    values = np.array(text.strip(" \0").split("\\"), float)
    return values[: values.size // 3 * 3].reshape(-1, 3)


def contour_fault(contour: Dataset, points: Array, plane: Plane | None) -> str:
    """What is wrong with one contour by itself, empty if nothing."""
    if plane is None:
        return "a contour refers to an image outside the series"
    if contour.ContourGeometricType != "CLOSED_PLANAR" or len(points) < 3:
        return "a contour is not a closed polygon of at least three points"
    if int(contour.NumberOfContourPoints) != len(points):
        return "NumberOfContourPoints is not the number of points"
    if np.abs(points[:, 2] - (plane.header.z_mm or 0.0)).max() > ON_SLICE_MM:
        return "a contour lies off the image that it refers to"
    return ""


def fill(points: Array, plane: Plane, volume: Volume) -> tuple[Array, Array]:
    """Indices y and x of the volume's voxels whose centres lie inside a polygon in the plane of a CT image."""
    header = plane.header
    corner = np.array(header.position_mm)
    along_row, along_column = np.array(header.orientation).reshape(2, 3)
    between_rows, between_columns = header.pixel_spacing_mm or (1.0, 1.0)
    row = (points - corner) @ along_column / between_rows
    column = (points - corner) @ along_row / between_columns
    rows, columns = pixels_inside(row, column, (header.rows, header.columns))
    x_mm, y_mm = (
        corner[axis] + columns * (between_columns * along_row[axis]) + rows * (between_rows * along_column[axis])
        for axis in (0, 1)
    )
    y = np.rint((y_mm - volume.origin_mm[1]) / volume.spacing_mm[1]).astype(np.int64)
    x = np.rint((x_mm - volume.origin_mm[2]) / volume.spacing_mm[2]).astype(np.int64)
    return y, x


def pixels_inside(row: Array, column: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Rows and columns of the pixels whose centres lie in a closed polygon."""
    if len(row) <= LONG_CONTOUR:
        rows, columns = polygon(row, column, shape)  # type: ignore[no-untyped-call]
        return rows, columns
    points = np.stack([row, column], axis=1)
    first, last = max(0, int(row.min())), min(shape[0] - 1, int(np.ceil(row.max())))
    found = [np.empty((2, 0), np.int64)]
    for start in range(first, last + 1, BAND_ROWS):
        band = cut(cut(points, start - 0.5, 1), start + BAND_ROWS - 0.5, -1)
        if len(band):
            found.append(np.stack(polygon(band[:, 0], band[:, 1], shape)))  # type: ignore[no-untyped-call]
    rows, columns = np.concatenate(found, axis=1)
    return rows, columns


def cut(points: Array, bound: float, way: int) -> Array:
    """The part of a polygon (n, 2) above (`way` 1) or below (-1) the row `bound` (Sutherland & Hodgman, 1974).

    Edges along the bound are added, which lies between pixel centres. The rest encloses what it did before.
    """
    if not len(points):
        return points
    following = np.roll(points, -1, axis=0)
    here, there = (points[:, 0] - bound) * way, (following[:, 0] - bound) * way
    share = here / np.where(here == there, 1.0, here - there)
    border = points + share[:, None] * (following - points)
    wanted = np.stack([here >= 0, (here >= 0) != (there >= 0)], axis=1)
    return np.asarray(np.stack([points, border], axis=1)[wanted])


def least_dice(filled: Mapping[int, Sequence[tuple[Array, Array]]], organ: Organ, volume: Volume) -> float:
    """Dice of the filled contours, by slice, and the organ's mask: the lower of even-odd rule and union of contours."""
    assert organ.mask is not None
    assert organ.box is not None
    (z0, y0, x0), (z1, y1, x1) = organ.box.start, organ.box.stop
    sums = np.zeros((2, 2), np.int64)
    for k in {*filled, *range(z0, z1)}:
        times = np.zeros(volume.shape[1:], np.uint8)
        for voxels in filled.get(k, ()):
            times[voxels] += 1
        expected = np.zeros(volume.shape[1:], bool)
        if z0 <= k < z1:
            expected[y0:y1, x0:x1] = organ.mask[k - z0]
        for rule, inside in enumerate((times % 2 == 1, times > 0)):
            sums[rule] += np.count_nonzero(inside & expected), np.count_nonzero(inside) + np.count_nonzero(expected)
    return min(2.0 * common / total if total else 1.0 for common, total in sums.tolist())
