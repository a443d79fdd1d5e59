"""Stored pixel values of one CT image. What the header promises is checked before anything is decoded."""

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.codestream import frame_facts
from rtseg_daemon.ct.headers import SliceHeader
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError

LOSSLESS = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)


FEWEST_CT_BITS = 12
"""A CT image stores 12 bits at least (PS3.3 C.8.2.1): fewer declared and more used is a wrong header."""


@dataclass(frozen=True)
class StoredPixels:
    """Stored values (rows, columns), not rescaled, and which of them are padding. `padded` is None where none is."""

    values: Array
    padded: Array | None


def stored_values(dataset: Dataset, header: SliceHeader) -> Array:
    """Stored values (rows, columns), not rescaled. Raises SeriesError where header and pixel data disagree."""
    return stored_pixels(dataset, header).values


def stored_pixels(dataset: Dataset, header: SliceHeader) -> StoredPixels:
    """Stored values and padding. Raises SeriesError where header and pixel data disagree."""
    if header.bits_allocated not in (8, 16, 32) or not 1 <= header.bits_stored <= header.bits_allocated:
        raise _refused(header, f"{header.bits_stored} bits stored in {header.bits_allocated}")
    if not header.bits_stored - 1 <= header.high_bit < header.bits_allocated:
        raise _refused(
            header,
            f"HighBit {header.high_bit} contradicts {header.bits_stored} bits stored in {header.bits_allocated}",
        )
    raw = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if raw is None or not isinstance(raw.value, bytes):
        raise _refused(header, "there is no PixelData")
    compressed = UID(header.transfer_syntax_uid).is_compressed
    cells = decompressed_cells(dataset, header) if compressed else _native(raw.value, header)
    values = _extracted(cells, header)
    return StoredPixels(values, _padded(cells, values, header))


def _native(raw: bytes, header: SliceHeader) -> Array:
    """Uncompressed cells, a view on the bytes read. Whatever follows the last pixel is cut off (PS3.5 8.1.1)."""
    expected = header.rows * header.columns * header.bits_allocated // 8
    if len(raw) < expected:
        raise _refused(header, f"PixelData has {len(raw)} bytes where the header says {expected}")
    order = ">" if header.transfer_syntax_uid == ExplicitVRBigEndian else "<"
    kind = f"{order}{'i' if header.signed else 'u'}{header.bits_allocated // 8}"
    return np.frombuffer(raw, kind, header.rows * header.columns).reshape(header.rows, header.columns)


def decompressed_cells(dataset: Dataset, header: SliceHeader) -> Array:
    """Pixel cells (rows, columns) of a losslessly compressed image. Raises SeriesError if its frame contradicts the
    header."""
    if header.transfer_syntax_uid == RLELossless:
        return _shaped(_decoded(dataset, header), header)
    if header.transfer_syntax_uid not in LOSSLESS:
        raise _refused(header, "its transfer syntax is lossy or unknown")
    raw = dataset.get_item("PixelData")
    facts = frame_facts(_frame(raw.value if raw is not None else b"", header))
    if facts is None or (facts.rows, facts.columns, facts.samples) != (header.rows, header.columns, 1):
        raise _refused(header, "its compressed frame has another size than the header says")
    if facts.bits > header.bits_allocated or facts.signed not in (None, header.signed):
        raise _refused(header, "its compressed frame has other bits or signs than the header says")
    return _shaped(_by_gdcm(header), header)


def _frame(raw: object, header: SliceHeader) -> bytes:
    """The only frame of encapsulated pixel data (PS3.5 A.4)."""
    try:
        with quiet():
            return get_frame(raw if isinstance(raw, bytes) else b"", 0, number_of_frames=1)
    except Exception as error:  # encapsulation is parsed from a stranger's bytes
        raise _refused(header, f"its fragments are broken ({type(error).__name__})") from error


def _decoded(dataset: Dataset, header: SliceHeader) -> Array:
    try:
        with quiet():
            return np.asarray(dataset.pixel_array)
    except Exception as error:  # a stranger's bytes
        raise _refused(header, f"it cannot be decompressed ({type(error).__name__})") from error


def _by_gdcm(header: SliceHeader) -> Array:
    """Stored values by SimpleITK's GDCM, which hands out rescaled ones. Both steps are exact for whole HU."""
    import SimpleITK as sitk  # 90 MB and half a second that the dashboard's reader needs for compressed images alone

    try:
        image = sitk.ReadImage(str(header.path))
    except RuntimeError as error:
        raise _refused(header, "it cannot be decompressed") from error
    values = sitk.GetArrayFromImage(image).astype(np.float64)
    stored = (values - (header.intercept or 0.0)) / (header.slope or 1.0)
    return np.asarray(np.rint(stored)[0] if stored.ndim == 3 else np.rint(stored), np.int32)


def _shaped(values: Array, header: SliceHeader) -> Array:
    if values.shape != (header.rows, header.columns):
        raise _refused(header, f"it holds {values.shape} pixels where the header says otherwise")
    return values


def _extracted(cells: Array, header: SliceHeader) -> Array:
    """The values that BitsStored and HighBit cut out of pixel cells, with their sign (PS3.5 8.1.1).

    Nothing may be assumed of the other bits: old overlays lie there. Refused where BitsStored is less than a CT image
    may have and the cells hold more.
    """
    shift = 0 if header.transfer_syntax_uid in LOSSLESS else header.high_bit + 1 - header.bits_stored
    low, high = _bounds(header)
    if not shift and (header.bits_stored == header.bits_allocated or low <= cells.min() <= cells.max() <= high):
        return cells
    if header.bits_stored < FEWEST_CT_BITS:
        raise _refused(header, f"values {cells.min()} to {cells.max()} do not fit {header.bits_stored} bits")
    values = (cells.astype(np.int64) >> shift) & ((1 << header.bits_stored) - 1)
    if header.signed:
        values = (values ^ (high + 1)) - (high + 1)
    return values.astype(cells.dtype)


def _bounds(header: SliceHeader) -> tuple[int, int]:
    """The lowest and the highest value that BitsStored can hold."""
    if header.signed:
        return -(1 << (header.bits_stored - 1)), (1 << (header.bits_stored - 1)) - 1
    return 0, (1 << header.bits_stored) - 1


def _padded(cells: Array, values: Array, header: SliceHeader) -> Array | None:
    """Which pixels PixelPaddingValue and its range limit mark (PS3.3 C.7.5.1.1.2), or None if there are none.

    Some devices pad with a value that BitsStored cannot hold. There the whole cell is compared.
    """
    if header.padding is None:
        return None
    low, high = header.padding
    least, most = _bounds(header)
    compared = values if least <= low and high <= most else cells
    padded = np.asarray((compared >= low) & (compared <= high))
    return padded if padded.any() else None


def _refused(header: SliceHeader, reason: str) -> SeriesError:
    return SeriesError(f"pixel_data: {header.path.name}: {reason}; send the image again, uncompressed", "pixel_data")
