"""What one CT image file says of itself, read without its pixels; strangers' files are met here."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError

LARGEST_FILE_BYTES = 256 * 2**20
"""A CT image is about half a MB; nothing larger than this is opened."""

KEYWORDS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "Manufacturer", "PatientName",
    "ManufacturerModelName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesDescription", "BodyPartExamined", "SliceThickness", "GantryDetectorTilt", "ConvolutionKernel",
    "PatientPosition", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "ImagePositionPatient",
    "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing", "Rows", "Columns", "SamplesPerPixel",
    "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept",
    "RescaleSlope", "RescaleType",
)  # fmt: skip


@dataclass(frozen=True)
class SliceHeader:
    """The facts of one CT image file; `None` or an empty string where the file does not say, or says nonsense.

    Args:
        path: the file.
        position_mm: ImagePositionPatient (x, y, z): centre of the first pixel stored (PS3.3 C.7.6.2.1.1).
        orientation: ImageOrientationPatient: direction cosines (x, y, z) of a row, then of a column.
        pixel_spacing_mm: PixelSpacing: between rows, then between columns (PS3.3 10.7.1.3).
        slope, intercept: stored value -> HU (PS3.3 C.11.1.1.2).
        tilt_deg: GantryDetectorTilt.
        patient_id, patient_name, birth_date: for comparison in memory only; they never enter a log.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    frame_uid: str
    modality: str = ""
    image_type: tuple[str, ...] = ()
    manufacturer: str = ""
    model: str = ""
    description: str = ""
    body_part: str = ""
    kernel: str = ""
    patient_position: str = ""
    instance_number: int | None = None
    acquisition_number: int | None = None
    temporal_position: int | None = None
    position_mm: tuple[float, float, float] | None = None
    orientation: tuple[float, ...] | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    slice_thickness_mm: float | None = None
    tilt_deg: float | None = None
    rows: int = 0
    columns: int = 0
    frames: int = 1
    samples_per_pixel: int = 1
    bits_allocated: int = 0
    bits_stored: int = 0
    signed: bool = False
    slope: float | None = None
    intercept: float | None = None
    rescale_type: str = ""
    transfer_syntax_uid: str = ""
    patient_id: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)

    @property
    def z_mm(self) -> float | None:
        """Patient z of the slice, or None if the file does not say."""
        return None if self.position_mm is None else self.position_mm[2]


def read_dataset(path: Path, pixels: bool, keywords: Sequence[str] | None = None, headless: bool = False) -> Dataset:
    """Parse a DICOM file of a stranger; raises SeriesError whatever is wrong with it.

    Files that would grow when opened (deflated syntax) and files over LARGEST_FILE_BYTES are not opened; files without
    preamble and file meta information only if `headless`.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise SeriesError(f"{path.name} is larger than {LARGEST_FILE_BYTES // 2**20} MiB; it is not opened")
        source = io.BytesIO(path.read_bytes()) if pixels else path
        tags: Any = list(keywords) if keywords else None
        with quiet():
            refuse_deflated(path)
            return pydicom.dcmread(source, stop_before_pixels=not pixels, specific_tags=tags, force=headless)
    except SeriesError:
        raise
    except Exception as error:  # any bytes may stand in a file that came over the network
        raise SeriesError(f"{path.name} cannot be read as DICOM ({type(error).__name__}); send it again") from error


def refuse_deflated(path: Path) -> None:
    """Raise SeriesError for a file in the deflated syntax, which may grow a thousandfold in memory."""
    with path.open("rb") as stream:
        if not pydicom.filereader.read_preamble(stream, force=True):
            return
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise SeriesError(f"{path.name} is deflated, which is not accepted; send it uncompressed")


def read_header(path: Path) -> SliceHeader:
    """The facts of one file, without its pixels; raises SeriesError if it is no readable DICOM file."""
    dataset = read_dataset(path, pixels=False, keywords=KEYWORDS)
    with quiet():
        return header_of(dataset, path)


def header_of(dataset: Dataset, path: Path) -> SliceHeader:
    """The facts of a parsed data set; values that break their VR count as absent."""
    return SliceHeader(
        path=path,
        sop_class_uid=text(dataset, "SOPClassUID"),
        sop_instance_uid=text(dataset, "SOPInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        frame_uid=text(dataset, "FrameOfReferenceUID"),
        modality=text(dataset, "Modality"),
        image_type=texts(dataset, "ImageType"),
        manufacturer=text(dataset, "Manufacturer"),
        model=text(dataset, "ManufacturerModelName"),
        description=text(dataset, "SeriesDescription"),
        body_part=text(dataset, "BodyPartExamined"),
        kernel="\\".join(texts(dataset, "ConvolutionKernel")),
        patient_position=text(dataset, "PatientPosition"),
        instance_number=whole(dataset, "InstanceNumber"),
        acquisition_number=whole(dataset, "AcquisitionNumber"),
        temporal_position=whole(dataset, "TemporalPositionIdentifier"),
        position_mm=_triple(numbers(dataset, "ImagePositionPatient")),
        orientation=_exactly(numbers(dataset, "ImageOrientationPatient"), 6),
        pixel_spacing_mm=_pair(numbers(dataset, "PixelSpacing")),
        slice_thickness_mm=number(dataset, "SliceThickness"),
        tilt_deg=number(dataset, "GantryDetectorTilt"),
        rows=whole(dataset, "Rows") or 0,
        columns=whole(dataset, "Columns") or 0,
        frames=whole(dataset, "NumberOfFrames") or 1,
        samples_per_pixel=whole(dataset, "SamplesPerPixel") or 1,
        bits_allocated=whole(dataset, "BitsAllocated") or 0,
        bits_stored=whole(dataset, "BitsStored") or 0,
        signed=whole(dataset, "PixelRepresentation") == 1,
        slope=number(dataset, "RescaleSlope"),
        intercept=number(dataset, "RescaleIntercept"),
        rescale_type=text(dataset, "RescaleType"),
        transfer_syntax_uid=text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else "",
        patient_id=text(dataset, "PatientID"),
        patient_name=text(dataset, "PatientName"),
        birth_date=text(dataset, "PatientBirthDate"),
    )


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The element's value, or None if it is absent or breaks its VR."""
    try:
        return dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom parses on access, and a stranger's bytes may raise anything there
        return None


def text(dataset: Dataset, keyword: str) -> str:
    value = value_of(dataset, keyword)
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, pydicom.multival.MultiValue) else str(value)


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    return tuple(part for part in text(dataset, keyword).split("\\") if part)


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values as finite floats; empty if any of them is no number."""
    try:
        found = tuple(float(part) for part in texts(dataset, keyword))
    except ValueError:
        return ()
    return found if all(math.isfinite(v) for v in found) else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    found = numbers(dataset, keyword)
    return found[0] if found else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    found = number(dataset, keyword)
    return None if found is None else int(found)


def _exactly(found: tuple[float, ...], count: int) -> tuple[float, ...] | None:
    return found if len(found) == count else None


def _triple(found: tuple[float, ...]) -> tuple[float, float, float] | None:
    return (found[0], found[1], found[2]) if len(found) == 3 else None


def _pair(found: tuple[float, ...]) -> tuple[float, float] | None:
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None


def is_ct_image(header: SliceHeader) -> bool:
    """A single-frame CT image with a series to belong to; enhanced CT and everything else is another SOP class."""
    return header.sop_class_uid == CTImageStorage and bool(header.series_uid) and bool(header.sop_instance_uid)
