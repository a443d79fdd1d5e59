"""Stored pixel values of one CT image; what the header promises is checked before anything is decoded."""

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian

from rtseg_daemon.dicom.headers import SliceHeader
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.segment.volume import Array


def stored_values(dataset: Dataset, header: SliceHeader) -> Array:
    """Stored values (rows, columns), not rescaled; raises SeriesError where header and pixel data disagree."""
    if header.bits_allocated not in (8, 16, 32) or not 1 <= header.bits_stored <= header.bits_allocated:
        raise _refused(header, f"{header.bits_stored} bits stored in {header.bits_allocated}")
    raw = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if raw is None or not isinstance(raw.value, bytes):
        raise _refused(header, "there is no PixelData")
    if UID(header.transfer_syntax_uid).is_compressed:
        return _within_bits(_decompressed(dataset, header), header)
    return _within_bits(_native(raw.value, header), header)


def _native(raw: bytes, header: SliceHeader) -> Array:
    """Uncompressed values, a view on the bytes read (PS3.5 8.1: one pad byte where the length would be odd)."""
    expected = header.rows * header.columns * header.bits_allocated // 8
    if len(raw) != expected + expected % 2:
        raise _refused(header, f"PixelData has {len(raw)} bytes where the header says {expected}")
    order = ">" if header.transfer_syntax_uid == ExplicitVRBigEndian else "<"
    kind = f"{order}{'i' if header.signed else 'u'}{header.bits_allocated // 8}"
    return np.frombuffer(raw, kind, header.rows * header.columns).reshape(header.rows, header.columns)


def _decompressed(dataset: Dataset, header: SliceHeader) -> Array:
    """Values of a compressed image by pydicom's decoders, refused if their shape is not the header's."""
    try:
        with quiet():
            values = np.asarray(dataset.pixel_array)
    except Exception as error:  # decoders are foreign code that meets a stranger's bytes
        raise _refused(header, f"it cannot be decompressed ({type(error).__name__})") from error
    if values.shape != (header.rows, header.columns):
        raise _refused(header, f"it holds {values.shape} pixels where the header says otherwise")
    return values


def _within_bits(values: Array, header: SliceHeader) -> Array:
    """The values, refused if they do not fit BitsStored (overlay bits, or a header that is wrong)."""
    if header.bits_stored == header.bits_allocated:
        return values
    low, high = int(values.min()), int(values.max())
    bound = 1 << (header.bits_stored - 1 if header.signed else header.bits_stored)
    if low < (-bound if header.signed else 0) or high >= bound:
        raise _refused(header, f"values {low} to {high} do not fit {header.bits_stored} bits")
    return values


def _refused(header: SliceHeader, reason: str) -> SeriesError:
    return SeriesError(f"pixel_data: {header.path.name}: {reason}; send the image again, uncompressed", "pixel_data")
