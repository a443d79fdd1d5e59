"""Who made the images and who made the contours: the scanner as contributing equipment, a bundle as an algorithm."""

from importlib.metadata import PackageNotFoundError, version

from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from rtseg_daemon.anatomy.called import ascii_line
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.dicom.files import texts
from rtseg_daemon.rtstruct.roi import code

PRODUCT = "rtseg-daemon"
"""Manufacturer and model of what we write. Which bundle drew an organ stands at the organ."""

SCANNER = {"ManufacturerModelName": 64, "InstitutionName": 64, "StationName": 16, "DeviceSerialNumber": 64}
"""What is told of the scanner where the CT states it, and how long it may be (VR LO or SH)."""


def own_version() -> str:
    try:
        return version(PRODUCT)
    except PackageNotFoundError:
        return "unknown"


def scanner(header: Dataset) -> Dataset:
    """The CT as contributing equipment (C.12.1.1.5, CID 7005)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Items([code("109101", "DCM", "Acquisition Equipment")])
    item.Manufacturer = stated(header, "Manufacturer", 64) or "unknown"
    for keyword, longest in SCANNER.items():
        if value := stated(header, keyword, longest):
            setattr(item, keyword, value)
    return item


def stated(header: Dataset, keyword: str, longest: int) -> str:
    """The first value of a text in a stranger's header, as ASCII, or nothing."""
    found = texts(header, keyword)
    return ascii_line(found[0], longest).strip() if found else ""


def algorithm(bundle: Bundle) -> Dataset:
    """The bundle as the algorithm that derived an ROI (PS3.3 table 10-19, family from CID 7162)."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = Items([code("123110", "DCM", "Artificial Intelligence")])
    item.AlgorithmName = ascii_line(bundle.name, 64)
    item.AlgorithmVersion = ascii_line(bundle.version, 64)
    item.AlgorithmParameters = f"family={bundle.family} members={len(bundle.members)} sha256={bundle.digest}"
    item.AlgorithmSource = PRODUCT
    return item
