"""A kept object's file read back: what its head says of it, and its data set as it was received."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from rtseg_daemon.dicom.files import data_set_start


@dataclass(frozen=True)
class Stored:
    """One object of the storage. `data` is its data set, without file meta information."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data: memoryview


@contextmanager
def stored(path: Path) -> Iterator[Stored]:
    """The object in this file. Raises OSError or InvalidDicomError where it is none that `store` wrote."""
    try:
        meta = read_file_meta_info(path)
        start = data_set_start(meta)
        named = (str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID))
    except (AttributeError, KeyError, ValueError, EOFError) as error:
        raise InvalidDicomError(f"{path.name} does not say what it holds") from error
    with path.open("rb") as file:
        if start >= file.seek(0, 2):
            raise InvalidDicomError(f"{path.name} has no data set")
        with (
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as whole,
            memoryview(whole) as view,
            view[start:] as data,
        ):
            yield Stored(*named, data)
