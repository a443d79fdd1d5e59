"""Whether two files hold the same pixels, as far as their bytes tell: nothing is decoded.

An image that comes again with other bytes under its UID mostly has another value in some tag. Its pixel data are the
same bytes then, and mean the same. Where they are not, nothing is said: another encoding may hold the same values.
"""

from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rtseg_daemon.dicom.scan import ScanError, scan
from rtseg_daemon.receive.stored import Stored, stored

SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = (
    0x00280002,
    0x00280004,
    0x00280006,
    0x00280008,
    0x00280010,
    0x00280011,
)
ALLOCATED, STORED, HIGH_BIT, REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103
MEANING = frozenset((SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS, ALLOCATED, STORED, HIGH_BIT, REPRESENTATION))
"""What says how pixel bytes are to be read. The rescaling is compared with the geometry."""
ALIKE = {str(ImplicitVRLittleEndian): str(ExplicitVRLittleEndian)}
"""Transfer syntaxes in which pixel data look the same."""


def same_bytes(first: Path, second: Path) -> bool:
    """Whether both files hold the same pixel data, in bytes and meaning. Raises OSError where one cannot be read."""
    try:
        with stored(first) as one, stored(second) as other:
            return one.data == other.data or pixels_alike(one, other)
    except (InvalidDicomError, ScanError):
        return False


def pixels_alike(one: Stored, other: Stored) -> bool:
    """Whether the pixel data and what says how to read them are the same. Raises ScanError."""
    if encoding(one) != encoding(other):
        return False
    first, second = (scan(each.data, each.transfer_syntax, MEANING) for each in (one, other))
    if first.pixels is None or second.pixels is None or first.values != second.values:
        return False
    with (
        one.data[first.pixels.start : first.pixels.stop] as here,
        other.data[second.pixels.start : second.pixels.stop] as there,
    ):
        return here == there


def encoding(one: Stored) -> str:
    return ALIKE.get(one.transfer_syntax, one.transfer_syntax)
