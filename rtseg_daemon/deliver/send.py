"""Objects stored at a destination over one association."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from rtseg_daemon.dicom.association import Peer
from rtseg_daemon.dicom.contexts import COMMITMENT
from rtseg_daemon.errors import ContextRefused, DeliveryError

UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def contexts_for(files: Sequence[Path], commitment: bool) -> list[PresentationContext]:
    """What must be offered to store `files`, as they are or else in the other uncompressed form, and for commitment."""
    wanted: dict[tuple[str, str], PresentationContext] = {}
    for path in files:
        meta = read_file_meta_info(path)
        sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
        wanted.setdefault((sop_class, syntax), build_context(sop_class, [syntax]))
        if syntax in UNCOMPRESSED:
            others = [other for other in UNCOMPRESSED if other != syntax]
            wanted.setdefault((sop_class, str(others[0])), build_context(sop_class, others))
    contexts = list(wanted.values())
    return [*contexts, build_context(COMMITMENT)] if commitment else contexts


@dataclass(frozen=True)
class Stored:
    """A peer's answer to one C-STORE: the status, and its Error Comment."""

    status: int
    comment: str


def store(association: Association, peer: Peer, path: Path) -> Stored:
    """Send one file. Raises DeliveryError if no answer came, ContextRefused if the peer does not take this kind.

    FileNotFoundError and InvalidDicomError tell of a file that is gone or broken.
    """
    dataset = dcmread(path)
    try:
        answer = association.send_c_store(dataset)
    except ValueError as error:
        raise ContextRefused(f"{peer.name} does not accept {class_name(dataset)} in the form that we hold") from error
    except RuntimeError as error:
        raise DeliveryError(f"{peer.name}: the association was lost before the answer") from error
    if "Status" not in answer:
        raise DeliveryError(f"{peer.name}: no answer to C-STORE; the object may or may not have arrived")
    return Stored(int(answer.Status), str(answer.get("ErrorComment", "") or ""))


def class_name(dataset: Dataset) -> str:
    return str(dataset.SOPClassUID.name)
