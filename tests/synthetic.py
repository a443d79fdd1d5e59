"""Synthetic CT series for every test that needs one: any of the eight orientations in which axial slices are stored."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from rtseg_daemon.anatomy.volume import Volume

ORIENTATIONS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "HFS": ((1, 0, 0), (0, 1, 0)),
    "HFP": ((-1, 0, 0), (0, -1, 0)),
    "HFDR": ((0, 1, 0), (-1, 0, 0)),
    "HFDL": ((0, -1, 0), (1, 0, 0)),
    "FFS": ((-1, 0, 0), (0, 1, 0)),
    "FFP": ((1, 0, 0), (0, -1, 0)),
    "FFDR": ((0, -1, 0), (-1, 0, 0)),
    "FFDL": ((0, 1, 0), (1, 0, 0)),
}
"""Direction cosines (x, y, z) of a row and of a column of the stored image, by PatientPosition."""

Change = Callable[[int, Dataset], None]


def uid(*parts: object) -> str:
    """A UID that is the same for the same parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def sample_volume(shape: tuple[int, int, int] = (6, 24, 32), seed: int = 0) -> Volume:
    """HU noise on a grid with three different spacings and an origin off zero."""
    hu = np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)
    return Volume(hu, (3.0, 0.7, 0.9), (-87.5, -33.25, 12.125))


def write_series(
    folder: Path,
    volume: Volume,
    position: str = "HFS",
    *,
    shuffle: bool = False,
    seed: int = 0,
    change: Change | None = None,
) -> list[Path]:
    """Write `volume` (HU, patient axes) as a CT series stored in the orientation of `position`; returns the files.

    Args:
        shuffle: files and InstanceNumber in random order.
        seed: other UIDs for another seed.
        change: called with slice number and data set before each is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = list(range(volume.shape[0]))
    if shuffle:
        random.Random(seed).shuffle(numbers)
    elif position.startswith("FF"):
        numbers.reverse()
    paths = []
    for number, k in enumerate(numbers, 1):
        dataset = slice_dataset(volume, k, position, seed)
        dataset.InstanceNumber = number
        if change is not None:
            change(k, dataset)
        path = folder / f"CT.{number:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def slice_dataset(volume: Volume, k: int, position: str, seed: int) -> Dataset:
    """Slice `k` of `volume` as a CT image stored in the orientation of `position`."""
    pixels, corner, spacing = stored(volume, k, position)
    row, column = ORIENTATIONS[position]
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, uid("instance", seed, k)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260115"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "083000"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "ACC1", "1", ""
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "Phantom works", "Synthetic"
    ds.StudyDescription, ds.SeriesDescription = "RT planning", "HN planning CT"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Test", "PHANTOM1", "19600101", "O"
    ds.BodyPartExamined, ds.PatientPosition, ds.PositionReferenceIndicator = "HEADNECK", position, ""
    ds.KVP, ds.SliceThickness, ds.ConvolutionKernel = "120", f"{volume.spacing_mm[0]:.6g}", "STANDARD"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", seed), uid("series", seed)
    ds.FrameOfReferenceUID = uid("frame", seed)
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 2, 1, k + 1
    ds.ImagePositionPatient = [f"{v:.10g}" for v in corner]
    ds.ImageOrientationPatient = [*row, *column]
    ds.PixelSpacing = [f"{v:.10g}" for v in spacing]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.PixelData = np.clip(pixels.astype(np.int32) + 1024, 0, 65535).astype("<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def stored(volume: Volume, k: int, position: str) -> tuple[NDArray[np.int16], list[float], tuple[float, float]]:
    """Pixels of slice `k` as stored, patient (x, y, z) of the first pixel, and PixelSpacing (rows, columns).

    Worked out pixel by pixel from the definition (PS3.3 C.7.6.2.1.1), so that it is no mirror of the reader.
    """
    row, column = ORIENTATIONS[position]
    step = {"x": volume.spacing_mm[2], "y": volume.spacing_mm[1]}
    count = {"x": volume.shape[2], "y": volume.shape[1]}
    along_row, along_column = ("x", "y") if row[0] else ("y", "x")
    row_sign, column_sign = sum(row), sum(column)
    first = {along_row: 0 if row_sign > 0 else count[along_row] - 1}
    first[along_column] = 0 if column_sign > 0 else count[along_column] - 1
    i, j = np.indices((count[along_column], count[along_row]))
    at = {along_row: first[along_row] + row_sign * j, along_column: first[along_column] + column_sign * i}
    pixels = volume.array[k][at["y"], at["x"]]
    z, y, x = volume.origin_mm
    corner = [x + first["x"] * step["x"], y + first["y"] * step["y"], z + k * volume.spacing_mm[0]]
    return pixels, corner, (step[along_column], step[along_row])
