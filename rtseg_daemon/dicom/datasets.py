"""Data sets as they travel: encoded by us, decoded from a stranger."""

from io import BytesIO

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom import dsutils

from rtseg_daemon.dicom.scan import scan


def encode(dataset: Dataset, syntax: str) -> bytes:
    """`dataset` without file meta information, in an uncompressed transfer syntax."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    buffer.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def decode(data: bytes, syntax: str) -> Dataset:
    """The data set of a stranger in an uncompressed transfer syntax. Raises ScanError where it does not add up.

    Its values are parsed when they are asked for, and may raise then (see `files.value_of`).
    """
    scan(memoryview(data), syntax, ())
    found: Dataset = dsutils.decode(BytesIO(data), syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    return found
