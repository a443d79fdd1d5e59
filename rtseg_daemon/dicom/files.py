"""DICOM files of a stranger: parsed without trust, values that break their VR count as absent."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom import Dataset, FileMetaDataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from rtseg_daemon.dicom.charsets import comparable, encodings_of, storable
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError

LARGEST_FILE_BYTES = 256 * 2**20
"""A CT image is about half a MB. Nothing larger than this is opened."""


BEFORE_META_BYTES = 128 + 4 + 12
"""Preamble, prefix, and the element that says how long the rest of the meta information is (PS3.10, 7.1)."""


def read_dataset(
    path: Path,
    pixels: bool,
    keywords: Sequence[str] | None = None,
    headless: bool = False,
    largest_bytes: int = LARGEST_FILE_BYTES,
) -> Dataset:
    """Parse a DICOM file of a stranger. Raises SeriesError whatever is wrong with it.

    Files that would grow when opened (deflated syntax) and files over `largest_bytes` are not opened, files without
    preamble and file meta information only if `headless`.
    """
    try:
        if path.stat().st_size > largest_bytes:
            raise SeriesError(f"{path.name} is larger than {largest_bytes // 2**20} MiB; it is not opened")
        source = io.BytesIO(path.read_bytes()) if pixels else path
        tags: Any = list(keywords) if keywords else None
        with quiet():
            refuse_deflated(path)
            dataset = pydicom.dcmread(source, stop_before_pixels=not pixels, specific_tags=tags, force=headless)
            declared = texts(dataset, "SpecificCharacterSet", empty=True)
            implicit, little = dataset.original_encoding
            dataset.set_original_encoding(implicit, little, encodings_of(declared))
            return dataset
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


def data_set_start(meta: FileMetaDataset) -> int:
    """Where the data set of a file begins that has this meta information. Raises InvalidDicomError."""
    if "FileMetaInformationGroupLength" not in meta:
        raise InvalidDicomError("a file does not say where its data set begins")
    return BEFORE_META_BYTES + int(meta.FileMetaInformationGroupLength)


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
    return storable("\\".join(map(str, value)) if isinstance(value, pydicom.multival.MultiValue) else str(value))


def same_text(dataset: Dataset, keyword: str) -> str:
    """What all spellings of a name or identifier have in common (see `charsets.comparable`)."""
    element = dataset.get_item(keyword) if keyword in dataset else None
    raw = element.value if isinstance(element, RawDataElement) else None
    if isinstance(raw, bytes):
        return comparable(raw, texts(dataset, "SpecificCharacterSet", empty=True))
    return comparable(text(dataset, keyword).encode(), ["ISO_IR 192"])


def texts(dataset: Dataset, keyword: str, empty: bool = False) -> tuple[str, ...]:
    """All values. Those that are `empty` are left out unless they are asked for."""
    return tuple(part for part in text(dataset, keyword).split("\\") if part or empty)


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values as finite floats, empty if any of them is no number."""
    try:
        found = tuple(float(part) for part in texts(dataset, keyword))
    except ValueError:
        return ()
    return found if all(math.isfinite(v) for v in found) else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    found = numbers(dataset, keyword)
    return found[0] if found else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    found = number(dataset, keyword)
    return None if found is None else int(found)
