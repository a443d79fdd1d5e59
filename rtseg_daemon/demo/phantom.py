"""A made-up patient: the population average of head-and-neck CTs, deformed by a seed, with noise and a couch.

It stands in for a CT where none may be shipped: in the demo, in tests, and as a bundle's golden case. The average
(`data/template.npz`) is made by `rtseg-train template`. It shows no single patient.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage

from rtseg_daemon.anatomy.volume import AIR_HU, Array, Box, Grid, Volume, bounding_box
from rtseg_daemon.segment.resample import interpolate

FIELD_OF_VIEW_MM = 500.0
COUCH_MM = (420.0, 30.0, 4.0)
"""Width, height and shell thickness of the couch."""
COUCH_HU = (-180.0, -940.0)
"""Carbon shell and foam."""
ORGAN_SHARE = 0.42
"""Share of patients that makes a voxel the organ's: a little under a half, since interpolation thins narrow organs."""


@dataclass(frozen=True)
class Template:
    """The average: HU float32 `(z, y, x)` and, per organ, the share of patients that have it at a voxel (0 to 1)."""

    hu: Volume
    shares: dict[str, Array]


@dataclass(frozen=True)
class Bend:
    """How one phantom differs from the average: turns in degrees, size factors, a coarse field in mm."""

    angles_deg: Array
    scale: Array
    field_mm: Array


def load_template() -> Template:
    """The average that came with the package."""
    with (
        resources.as_file(resources.files("rtseg_daemon.demo") / "data" / "template.npz") as path,
        np.load(path) as data,
    ):
        spacing, origin = data["spacing_mm"].tolist(), data["origin_mm"].tolist()
        hu = Volume(data["hu"].astype(np.float32), tuple(spacing), tuple(origin))
        shares = {}
        for name in data["organs"].tolist():
            (z0, y0, x0), (z1, y1, x1) = data[f"box_{name}"].tolist()
            share = np.zeros(hu.shape, np.float32)
            share[Box((z0, y0, x0), (z1, y1, x1)).slices] = data[f"share_{name}"] / np.float32(255)
            shares[name] = share
    return Template(hu, shares)


def random_bend(rng: np.random.Generator, elastic_mm: float = 4.0) -> Bend:
    """Turned by up to 4 degrees, 6 % larger or smaller per axis, and bent by a smooth field of `elastic_mm`."""
    return Bend(rng.uniform(-4, 4, 3), rng.uniform(0.94, 1.06, 3), rng.normal(0, elastic_mm, (3, 7, 6, 7)))


def source_points(grid: Grid, bend: Bend) -> Array:
    """Voxel indices `(3, z, y, x)` in the template from which each voxel of the phantom is read.

    Above and below the template its last slice goes on, as a body does beyond the scanned range.
    """
    axes = [
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * s for n, s in zip(grid.shape, grid.spacing_mm, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    matrix = rotation(np.deg2rad(bend.angles_deg)) / bend.scale
    moved = np.tensordot(matrix.astype(np.float32), points, axes=1)
    for axis in range(3):
        coarse = bend.field_mm[axis]
        factors = [n / c for n, c in zip(grid.shape, coarse.shape, strict=True)]
        moved[axis] += ndimage.zoom(coarse, factors, order=3, mode="nearest", grid_mode=True).astype(np.float32)
    spacing = np.asarray(grid.spacing_mm, np.float32)[:, None, None, None]
    centre = (np.asarray(grid.shape, np.float32) - 1)[:, None, None, None] / 2
    points = moved / spacing + centre
    points[0] = points[0].clip(0, grid.shape[0] - 1)
    return np.asarray(points)


def rotation(angles: Array) -> Array:
    """Rotation matrix (z, y, x) from three angles in radians about the axes in turn."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (i for i in range(3) if i != axis)
        turn = np.eye(3)
        turn[[a, b, a, b], [a, b, b, a]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def fine_grid(coarse: Grid, matrix: int) -> Grid:
    """`matrix` x `matrix` pixels over the field of view, centred on the template, with slices as in the template."""
    pixel = FIELD_OF_VIEW_MM / matrix
    first = -FIELD_OF_VIEW_MM / 2 + pixel / 2
    return Grid(
        (coarse.shape[0], matrix, matrix), (coarse.spacing_mm[0], pixel, pixel), (coarse.origin_mm[0], first, first)
    )


def fine_share(share: Volume, grid: Grid) -> tuple[Box, Array]:
    """An organ's share on `grid`, in the box that holds it. Nothing outside the box was computed."""
    box = bounding_box(share.array > 0.02)
    if box is None:
        return Box((0, 0, 0), (0, 0, 0)), np.zeros((0, 0, 0), np.float32)
    part = share.crop(box.grown(1, share.shape))
    start, stop, origin = [], [], []
    for n, first, step, size, o, s in zip(
        grid.shape, grid.origin_mm, grid.spacing_mm, part.shape, part.origin_mm, part.spacing_mm, strict=True
    ):
        low = min(n, max(0, int((o - s / 2 - first) // step)))
        start.append(low)
        stop.append(max(low, min(n, int((o + s * size - first) // step) + 1)))
        origin.append(first + step * low)
    inner = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    fine = interpolate(part, Grid(inner.shape, grid.spacing_mm, (origin[0], origin[1], origin[2])), 0.0)
    return inner, fine.array


def organ_masks(shares: dict[str, Volume], grid: Grid) -> dict[str, Array]:
    """Disjoint masks on `grid`: a voxel is the organ's that most patients have there, if more than ORGAN_SHARE do."""
    best = np.full(grid.shape, ORGAN_SHARE, np.float32)
    owner = np.zeros(grid.shape, np.uint8)
    for number, share in enumerate(shares.values(), 1):
        box, fine = fine_share(share, grid)
        wins = fine > best[box.slices]
        owner[box.slices][wins] = number
        best[box.slices][wins] = fine[wins]
    return {name: owner == number for number, name in enumerate(shares, 1)}


def add_couch(hu: Array, grid: Grid, back_mm: float) -> None:
    """Lay a couch (shell and foam) behind the patient whose rearmost point is at `back_mm`, in every slice."""
    width, height, shell = COUCH_MM
    y = grid.origin_mm[1] + grid.spacing_mm[1] * np.arange(grid.shape[1])
    x = grid.origin_mm[2] + grid.spacing_mm[2] * np.arange(grid.shape[2])
    depth, side = y - back_mm - 3.0, np.abs(x)
    outer = ((depth >= 0) & (depth <= height))[:, None] & (side <= width / 2)[None]
    inner = ((depth >= shell) & (depth <= height - shell))[:, None] & (side <= width / 2 - shell)[None]
    hu[:, outer & ~inner] = COUCH_HU[0]
    hu[:, inner] = COUCH_HU[1]


def add_noise(hu: Array, rng: np.random.Generator, sigma_hu: float) -> None:
    """Noise with the grain of a reconstructed CT: white noise averaged over neighbouring pixels, slice by slice."""
    for plane in hu:
        white = rng.standard_normal(plane.shape, np.float32)
        grain = ndimage.uniform_filter(white, 2, mode="wrap")
        plane += np.float32(sigma_hu / float(grain.std())) * grain


def make_phantom(seed: int, matrix: int = 512, noise_hu: float = 12.0) -> tuple[Volume, dict[str, Array]]:
    """The phantom of this seed: HU int16 `(z, matrix, matrix)` and a boolean mask per organ on the same grid."""
    rng = np.random.default_rng((0x9F4A, seed))
    template = load_template()
    coarse = Grid(template.hu.shape, template.hu.spacing_mm, template.hu.origin_mm)
    points = source_points(coarse, random_bend(rng))
    bent = ndimage.map_coordinates(template.hu.array, points, order=1, mode="constant", cval=AIR_HU)
    grid = fine_grid(coarse, matrix)
    hu = interpolate(template.hu.with_array(bent), grid).array
    rear = np.flatnonzero((bent > -350).any(axis=(0, 2)))[-1]
    add_couch(hu, grid, coarse.origin_mm[1] + coarse.spacing_mm[1] * (float(rear) + 1))
    add_noise(hu, rng, noise_hu)
    volume = Volume(np.clip(np.rint(hu), -1024, 3071).astype(np.int16), grid.spacing_mm, grid.origin_mm)
    moved = {
        name: template.hu.with_array(ndimage.map_coordinates(share, points, order=1, mode="constant", cval=0.0))
        for name, share in template.shares.items()
    }
    return volume, organ_masks(moved, grid)


def derived_uid(*words: object) -> str:
    """The same UID for the same words (a UUID in the form of PS3.5 B.2, taken from a digest)."""
    digest = hashlib.sha256("\n".join(map(str, words)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def header(volume: Volume, seed: int, patient_id: str, patient_name: str) -> Dataset:
    """What all slices share: patient, study, series, frame of reference, equipment and CT image modules (PS3.3 A.3)."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CTImageStorage
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derived_uid(seed, "study"), derived_uid(seed, "series")
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = derived_uid(seed, "frame"), ""
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = patient_name, patient_id, "19600101", "O"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260115"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "083000"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = str(seed), "", ""
    ds.StudyDescription, ds.SeriesDescription = "RT planning", "Head and neck phantom"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "rtseg-daemon", "phantom"
    ds.BodyPartExamined, ds.PatientPosition = "HEADNECK", "HFS"
    ds.ImageType, ds.SeriesNumber, ds.AcquisitionNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, 1
    ds.KVP, ds.SliceThickness = "120", f"{volume.spacing_mm[0]:.6g}"
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [f"{s:.10g}" for s in volume.spacing_mm[1:]]
    _, ds.Rows, ds.Columns = volume.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    return ds


def write_series(
    volume: Volume, folder: Path, seed: int, patient_id: str | None = None, patient_name: str | None = None
) -> list[Path]:
    """Write `volume` (int16 HU) as a head-first supine CT series, one explicit little endian file per slice.

    All UIDs derive from the seed, so the same phantom is the same series. Returns the files, inferior slice first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ds = header(volume, seed, patient_id or f"PHANTOM-{seed}", patient_name or f"Phantom^Seed{seed}")
    z0, y0, x0 = volume.origin_mm
    paths = []
    for k, plane in enumerate(volume.array):
        z = z0 + k * volume.spacing_mm[0]
        ds.SOPInstanceUID, ds.InstanceNumber = derived_uid(seed, "slice", k), k + 1
        ds.ImagePositionPatient, ds.SliceLocation = [f"{c:.10g}" for c in (x0, y0, z)], f"{z:.10g}"
        ds.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            CTImageStorage,
            ds.SOPInstanceUID,
        )
        path = folder / f"CT.{k + 1:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
