"""Objects stored at a destination over one association, read from their files piece by piece."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import SEEK_END
from pathlib import Path

from pydicom import FileMetaDataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from rtseg_daemon.deliver.decompressing import Decompressor
from rtseg_daemon.dicom.association import PLAIN, Association, Data
from rtseg_daemon.dicom.contexts import COMMITMENT
from rtseg_daemon.dicom.datasets import encode
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.files import data_set_start
from rtseg_daemon.dicom.proposal import Offer


def forms(syntax: str) -> tuple[str, ...]:
    """Transfer syntaxes in which a file may be sent, by preference: its own, then plain ones."""
    may_become_plain = syntax in PLAIN or UID(syntax).is_compressed
    return (syntax, *(other for other in PLAIN if other != syntax)) if may_become_plain else (syntax,)


def offers_for(files: Sequence[Path], commitment: bool) -> list[Offer]:
    """What must be offered to store `files`, each form in a context of its own, and for commitment."""
    wanted = dict.fromkeys(
        (str(meta.MediaStorageSOPClassUID), form)
        for meta in map(read_file_meta_info, files)
        for form in forms(str(meta.TransferSyntaxUID))
    )
    offers = [Offer(sop_class, (form,)) for sop_class, form in wanted]
    return [*offers, Offer(COMMITMENT, PLAIN)] if commitment else offers


def store(association: Association, path: Path, decompressor: Decompressor) -> Status:
    """Send one file. Raises PeerError if no answer came, ContextRefused if the peer does not take this kind,
    NotDecompressed if it takes it uncompressed alone and that cannot be made.

    FileNotFoundError and InvalidDicomError tell of a file that is gone or broken.
    """
    meta = read_file_meta_info(path)
    syntax = str(meta.TransferSyntaxUID)
    context = association.context(str(meta.MediaStorageSOPClassUID), *forms(syntax))
    with data_of(path, meta, context.syntax, decompressor) as data:
        return association.store(context, str(meta.MediaStorageSOPInstanceUID), data)


@contextmanager
def data_of(path: Path, meta: FileMetaDataset, syntax: str, decompressor: Decompressor) -> Iterator[Data]:
    """A file's data set in `syntax`: as it lies there, or encoded anew in memory."""
    stored = UID(str(meta.TransferSyntaxUID))
    if syntax != stored:
        yield Data.of(
            decompressor.uncompressed(path, syntax) if stored.is_compressed else encode(dcmread(path), syntax)
        )
        return
    start = data_set_start(meta)
    with path.open("rb") as file:
        length = file.seek(0, SEEK_END) - start
        if length < 0:
            raise InvalidDicomError(f"{path.name} ends before its data set")
        file.seek(start)
        yield Data(file, length)
