"""CTs and approved structure sets without whose they are, by the basic profile of DICOM PS3.15, annex E.

Stricter than its table: what is not on a list here is left out, private attributes among it. Dates are shifted by a
number of days of the patient's own (option 113107), so that intervals stay. UIDs are replaced, the same by the same.
"""

import io
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from rtseg_daemon.dicom.files import read_dataset, text, value_of
from rtseg_daemon.dicom.implementation import IMPLEMENTATION_UID
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.feedback.patient_key import PatientKey
from rtseg_daemon.storage import write_durably

KEPT_OF_IMAGES = (
    "SOPClassUID", "Modality", "ImageType", "InstanceNumber", "PatientPosition", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth", "KVP",
    "ConvolutionKernel", "Manufacturer", "LossyImageCompression", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod", "PixelData",
)  # fmt: skip
KEPT_OF_SETS = ("SOPClassUID", "Modality", "ApprovalStatus")
UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "StructureSetDate", "ReviewDate")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "StructureSetTime", "ReviewTime")
EMPTIED = (
    "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName", "StudyID",
    "ReviewerName", "PositionReferenceIndicator", "SeriesNumber",
)  # fmt: skip
METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
LONGEST_SHIFT_DAYS = 3650


class Patient:
    """One patient's new identifiers, by the department's key."""

    def __init__(self, key: PatientKey, patient_id: str) -> None:
        self.key = key
        self.name = key.digest(patient_id) or "unknown"
        self.days = key.secret("days of", patient_id) % LONGEST_SHIFT_DAYS + 1

    def uid(self, uid: str) -> UID:
        """Another UID, always the same for the same."""
        return UID(f"2.25.{self.key.secret('uid', uid)}")

    def date(self, stated: str) -> str:
        """A DA, so many days earlier. Empty for what is none."""
        if not re.fullmatch(r"\d{8}", stated):
            return ""
        try:
            return f"{datetime.strptime(stated, '%Y%m%d') - timedelta(days=self.days):%Y%m%d}"
        except (ValueError, OverflowError):
            return ""


def image(path: Path, patient: Patient) -> Dataset:
    """A CT image. Its pixels stay as they are encoded. Raises SeriesError for what is no DICOM file."""
    source = read_dataset(path, pixels=True)
    target = common(source, patient, KEPT_OF_IMAGES)
    target.AcquisitionNumber = None  # type 2: present, and empty
    return with_meta(target, str(source.file_meta.TransferSyntaxUID))


def structure_set(path: Path, patient: Patient, organs: Mapping[int, str], largest_bytes: int) -> Dataset:
    """A structure set with the ROIs of these numbers alone, under their organs' names. Raises SeriesError."""
    source = read_dataset(path, pixels=False, headless=True, largest_bytes=largest_bytes)
    with quiet():
        target = common(source, patient, KEPT_OF_SETS)
        target.StructureSetLabel, target.Manufacturer, target.OperatorsName = "approved", "", ""
        target.ReferencedFrameOfReferenceSequence = [
            frame_of(item, patient) for item in value_of(source, "ReferencedFrameOfReferenceSequence") or []
        ]
        target.StructureSetROISequence = [
            roi_of(item, organs[int(item.ROINumber)], patient)
            for item in items(source, "StructureSetROISequence", "ROINumber", organs)
        ]
        target.ROIContourSequence = [
            contours_of(item, patient) for item in items(source, "ROIContourSequence", "ReferencedROINumber", organs)
        ]
        target.RTROIObservationsSequence = [
            observation_of(item) for item in items(source, "RTROIObservationsSequence", "ReferencedROINumber", organs)
        ]
    return with_meta(target, ExplicitVRLittleEndian)


def common(source: Dataset, patient: Patient, kept: Iterable[str]) -> Dataset:
    """What images and structure sets have in common, and the attributes that are kept."""
    target = Dataset()
    target.SpecificCharacterSet = "ISO_IR 192"
    for keyword in kept:
        if value_of(source, keyword) is not None:
            target[keyword] = source[keyword]
    for keyword in UIDS:
        if uid := text(source, keyword):
            setattr(target, keyword, patient.uid(uid))
    for date, time in zip(DATES, TIMES, strict=True):
        if date in source:
            setattr(target, date, patient.date(text(source, date)))
            found = text(source, time)
            setattr(target, time, found if re.fullmatch(r"\d{2,6}(\.\d{1,6})?", found) else "")
    for keyword in EMPTIED:
        if keyword in source or keyword in ("PatientName", "PatientBirthDate", "PatientSex"):
            setattr(target, keyword, None if keyword == "SeriesNumber" else "")
    target.PatientID = patient.name
    target.PatientIdentityRemoved = "YES"
    target.LongitudinalTemporalInformationModified = "MODIFIED"
    target.DeidentificationMethod = "rtseg-daemon: list of kept attributes, dates shifted, new UIDs"
    target.DeidentificationMethodCodeSequence = [code(*method) for method in METHODS]
    return target


def code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning[:64]
    return item


def items(source: Dataset, sequence: str, number: str, organs: Mapping[int, str]) -> list[Dataset]:
    """The items of a sequence that are about these ROIs."""
    return [item for item in value_of(source, sequence) or [] if value_of(item, number) in organs]


def frame_of(item: Dataset, patient: Patient) -> Dataset:
    """The frame of reference and the images of the CT."""
    target = Dataset()
    target.FrameOfReferenceUID = patient.uid(text(item, "FrameOfReferenceUID"))
    studies = []
    for study in value_of(item, "RTReferencedStudySequence") or []:
        one = referenced(study, patient)
        one.RTReferencedSeriesSequence = [
            series_of(series, patient) for series in value_of(study, "RTReferencedSeriesSequence") or []
        ]
        studies.append(one)
    if studies:
        target.RTReferencedStudySequence = studies
    return target


def series_of(item: Dataset, patient: Patient) -> Dataset:
    target = Dataset()
    target.SeriesInstanceUID = patient.uid(text(item, "SeriesInstanceUID"))
    target.ContourImageSequence = [referenced(one, patient) for one in value_of(item, "ContourImageSequence") or []]
    return target


def referenced(item: Dataset, patient: Patient) -> Dataset:
    """A reference to an instance."""
    target = Dataset()
    target.ReferencedSOPClassUID = text(item, "ReferencedSOPClassUID")
    target.ReferencedSOPInstanceUID = patient.uid(text(item, "ReferencedSOPInstanceUID"))
    return target


def roi_of(item: Dataset, organ: str, patient: Patient) -> Dataset:
    target = Dataset()
    target.ROINumber = item.ROINumber
    target.ReferencedFrameOfReferenceUID = patient.uid(text(item, "ReferencedFrameOfReferenceUID"))
    target.ROIName, target.ROIGenerationAlgorithm = organ, ""
    return target


def contours_of(item: Dataset, patient: Patient) -> Dataset:
    target = Dataset()
    target.ReferencedROINumber = item.ReferencedROINumber
    target.ContourSequence = [contour_of(one, patient) for one in value_of(item, "ContourSequence") or []]
    return target


def contour_of(item: Dataset, patient: Patient) -> Dataset:
    target = Dataset()
    images: list[Any] = value_of(item, "ContourImageSequence") or []
    if images:
        target.ContourImageSequence = [referenced(one, patient) for one in images]
    for keyword in ("ContourGeometricType", "NumberOfContourPoints", "ContourData"):
        if value_of(item, keyword) is not None:
            target[keyword] = item[keyword]
    return target


def observation_of(item: Dataset) -> Dataset:
    target = Dataset()
    target.ObservationNumber, target.ReferencedROINumber = item.ReferencedROINumber, item.ReferencedROINumber
    target.RTROIInterpretedType, target.ROIInterpreter = "ORGAN", ""
    return target


def with_meta(target: Dataset, syntax: str) -> Dataset:
    """The file's head: nothing of the one that it was made from."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = target.SOPClassUID, target.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    target.file_meta = meta
    return target


def write(dataset: Dataset, path: Path) -> None:
    """The file, durable, for its owner alone."""
    buffer = io.BytesIO()
    with quiet():
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    write_durably(path, buffer.getvalue(), mode=0o600)
