"""What one CT image file says of itself, read without its pixels. Strangers' files are met here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import CTImageStorage

from rtseg_daemon.dicom.files import integer, number, numbers, read_dataset, same_text, text, texts
from rtseg_daemon.dicom.quiet import quiet

KEYWORDS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "Manufacturer", "PatientName",
    "ManufacturerModelName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID",
    "SeriesDescription", "BodyPartExamined", "SliceThickness", "GantryDetectorTilt", "ConvolutionKernel",
    "PatientPosition", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "ImagePositionPatient",
    "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing", "Rows", "Columns", "SamplesPerPixel",
    "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit", "AcquisitionDate",
    "AcquisitionTime", "AcquisitionDateTime",
)  # fmt: skip


@dataclass(frozen=True)
class SliceHeader:
    """The facts of one CT image file, `None` or an empty string where the file does not say, or says nonsense.

    Args:
        path: the file.
        position_mm: ImagePositionPatient (x, y, z): centre of the first pixel stored (PS3.3 C.7.6.2.1.1).
        orientation: ImageOrientationPatient: direction cosines (x, y, z) of a row, then of a column.
        pixel_spacing_mm: PixelSpacing: between rows, then between columns (PS3.3 10.7.1.3).
        slope, intercept: stored value -> HU (PS3.3 C.11.1.1.2).
        acquired: date and time of the acquisition as digits, so that they sort.
        high_bit: HighBit, one less than BitsStored where the file does not say (PS3.3 C.8.2.1).
        padding: PixelPaddingValue and PixelPaddingRangeLimit (the same value where there is no limit), in the
            signedness of the pixels.
        tilt_deg: GantryDetectorTilt.
        patient_id, patient_name, birth_date: as all their spellings compare (`dicom.charsets`), in memory only. They
            never enter a log.
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
    acquired: str = ""
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
    high_bit: int = -1
    signed: bool = False
    padding: tuple[int, int] | None = None
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


def read_header(path: Path) -> SliceHeader:
    """The facts of one file, without its pixels. Raises SeriesError if it is no readable DICOM file."""
    dataset = read_dataset(path, pixels=False, keywords=KEYWORDS)
    with quiet():
        return header_of(dataset, path)


def header_of(dataset: Dataset, path: Path) -> SliceHeader:
    """The facts of a parsed data set. Values that break their VR count as absent."""
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
        instance_number=integer(dataset, "InstanceNumber"),
        acquisition_number=integer(dataset, "AcquisitionNumber"),
        acquired=text(dataset, "AcquisitionDateTime")
        or text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime"),
        temporal_position=integer(dataset, "TemporalPositionIdentifier"),
        position_mm=_triple(numbers(dataset, "ImagePositionPatient")),
        orientation=_exactly(numbers(dataset, "ImageOrientationPatient"), 6),
        pixel_spacing_mm=_pair(numbers(dataset, "PixelSpacing")),
        slice_thickness_mm=number(dataset, "SliceThickness"),
        tilt_deg=number(dataset, "GantryDetectorTilt"),
        rows=integer(dataset, "Rows") or 0,
        columns=integer(dataset, "Columns") or 0,
        frames=integer(dataset, "NumberOfFrames") or 1,
        samples_per_pixel=integer(dataset, "SamplesPerPixel") or 1,
        bits_allocated=integer(dataset, "BitsAllocated") or 0,
        bits_stored=integer(dataset, "BitsStored") or 0,
        high_bit=_or_else(integer(dataset, "HighBit"), (integer(dataset, "BitsStored") or 0) - 1),
        signed=integer(dataset, "PixelRepresentation") == 1,
        padding=_padding(dataset),
        slope=number(dataset, "RescaleSlope"),
        intercept=number(dataset, "RescaleIntercept"),
        rescale_type=text(dataset, "RescaleType"),
        transfer_syntax_uid=text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else "",
        patient_id=same_text(dataset, "PatientID"),
        patient_name=same_text(dataset, "PatientName"),
        birth_date=same_text(dataset, "PatientBirthDate"),
    )


def _or_else(found: int | None, otherwise: int) -> int:
    return otherwise if found is None else found


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """The range of padding values. Some writers give those of signed pixels as unsigned numbers (PS3.3 C.7.5.1.1.2)."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _or_else(integer(dataset, "PixelPaddingRangeLimit"), value)
    half = 1 << 15
    signed = integer(dataset, "PixelRepresentation") == 1
    low, high = sorted((v + half) % (2 * half) - half if signed else v % (2 * half) for v in (value, limit))
    return low, high


def _exactly(found: tuple[float, ...], count: int) -> tuple[float, ...] | None:
    return found if len(found) == count else None


def _triple(found: tuple[float, ...]) -> tuple[float, float, float] | None:
    return (found[0], found[1], found[2]) if len(found) == 3 else None


def _pair(found: tuple[float, ...]) -> tuple[float, float] | None:
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None


def is_ct_image(header: SliceHeader) -> bool:
    """A single-frame CT image with a series to belong to. Enhanced CT and everything else is another SOP class."""
    return header.sop_class_uid == CTImageStorage and bool(header.series_uid) and bool(header.sop_instance_uid)


NOT_AXIAL_IMAGES = frozenset({"LOCALIZER", "REF_SURVIEW", "PATIENT_INFO", "DOSE_INFO", "RESULTS", "SCREEN SAVE"})
"""ImageType values of scout images, dose reports and screens that call themselves CT (PS3.3 C.8.2.1.1.1, Philips)."""


def split_images(headers: Iterable[SliceHeader]) -> tuple[list[SliceHeader], list[SliceHeader]]:
    """The axial CT images, and what is only called CT: localizers, dose reports, screens."""
    images: list[SliceHeader] = []
    dropped: list[SliceHeader] = []
    for header in headers:
        (images if is_axial_image(header.image_type) and is_ct_image(header) else dropped).append(header)
    return images, dropped


def is_axial_image(image_type: Iterable[str]) -> bool:
    """Whether ImageType does not say localizer, dose report or screen."""
    return not NOT_AXIAL_IMAGES & {part.strip().upper() for part in image_type}
