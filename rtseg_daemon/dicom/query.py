"""Query/retrieve as a user (PS3.4, annex C, Study Root): what a PACS has, how many images, and please send it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_FIND_RSP

from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom.association import Local, Waits, associated
from rtseg_daemon.dicom.contexts import LOSSLESS
from rtseg_daemon.errors import DeliveryError

FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
GET = UID("1.2.840.10008.5.1.4.1.2.2.3")

MOST_ANSWERS = 10_000
"""A peer that answers without end is cut off here."""

QUESTIONS = 5
"""How often a C-FIND is put before lost answers are an error."""

PENDING = (0xFF00, 0xFF01)
RETRIEVE_WAITS = Waits(answer=600.0)


@dataclass(frozen=True)
class RemoteSeries:
    """A CT series that a PACS says it has; `count` is None where it does not say how many images."""

    study_uid: str
    series_uid: str
    description: str
    count: int | None


@dataclass(frozen=True)
class Retrieved:
    """How a C-MOVE or C-GET ended: sub-operations done, with a warning, failed, and the final status."""

    completed: int
    warnings: int
    failed: int
    status: int

    @property
    def ok(self) -> bool:
        return self.status in (0x0000, 0xB000) and self.failed == 0


def question(level: str, **keys: str) -> Dataset:
    """An identifier for C-FIND, C-MOVE or C-GET: empty values are asked for."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def find(association: Association, peer: QueryPeer, identifier: Dataset) -> list[Dataset]:
    """All answers to one C-FIND; raises DeliveryError if it fails, does not end, or holds one that cannot be read.

    pynetdicom's own thread sometimes takes an answer off the queue before its reader does (pynetdicom issue 875): one
    image fewer would be counted, and a series contoured without it. So what arrived is compared with what was read,
    and the question put again.
    """
    for _ in range(QUESTIONS):
        with counted(association) as arrived:
            answers = answers_once(association, peer, identifier)
        if len(answers) + 1 == len(arrived):
            return answers
    raise DeliveryError(f"{peer.name}: answers to C-FIND were lost on this side {QUESTIONS} times in turn; try again")


@contextmanager
def counted(association: Association) -> Iterator[list[int]]:
    """An item for every C-FIND response that arrives in the block."""
    arrived: list[int] = []

    def note(event: Any) -> None:
        if isinstance(event.message, C_FIND_RSP):
            arrived.append(1)

    association.bind(evt.EVT_DIMSE_RECV, note)
    try:
        yield arrived
    finally:
        association.unbind(evt.EVT_DIMSE_RECV, note)


def answers_once(association: Association, peer: QueryPeer, identifier: Dataset) -> list[Dataset]:
    """The answers to one C-FIND that reached its reader; raises as `find` does."""
    answers: list[Dataset] = []
    for status, answer in association.send_c_find(identifier, FIND):
        if "Status" not in status:
            raise DeliveryError(f"{peer.name}: no answer to C-FIND")
        if status.Status == 0x0000:
            break
        if status.Status not in PENDING or len(answers) >= MOST_ANSWERS:
            raise DeliveryError(f"{peer.name}: C-FIND ended with 0x{status.Status:04X}")
        if answer is None:
            raise DeliveryError(f"{peer.name}: an answer to C-FIND cannot be read; look at the archive's log")
        answers.append(answer)
    return answers


def count_images(local: Local, peer: QueryPeer, study_uid: str, series_uid: str, waits: Waits = Waits()) -> int | None:
    """How many images of a series the PACS has; None if it does not know the series, or does not count.

    Where it does not fill in NumberOfSeriesRelatedInstances (an optional key), its images are counted one by one.
    """
    uids = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    with associated(local, peer, [build_context(FIND)], waits) as association:
        answers = find(association, peer, question("SERIES", **uids, NumberOfSeriesRelatedInstances=""))
        said = [whole(answer, "NumberOfSeriesRelatedInstances") for answer in answers]
        if not answers or said[0] is not None:
            return said[0] if said else None
        return len(find(association, peer, question("IMAGE", **uids, SOPInstanceUID=""))) or None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """An integer value; None where it is missing or nonsense."""
    try:
        return int(str(dataset.get(keyword, "")))
    except ValueError:
        return None


def ct_series(
    local: Local, peer: QueryPeer, *, study_uid: str = "", patient_id: str = "", waits: Waits = Waits()
) -> list[RemoteSeries]:
    """The CT series of one study, or of all studies of a patient; raises DeliveryError if the PACS cannot be asked."""
    with associated(local, peer, [build_context(FIND)], waits) as association:
        studies = [study_uid] if study_uid else list(studies_of(association, peer, patient_id))
        return [series for study in studies for series in series_of(association, peer, study)]


def studies_of(association: Association, peer: QueryPeer, patient_id: str) -> Iterator[str]:
    """StudyInstanceUIDs of exactly this patient: `*` and `?` would be wild cards, and match others."""
    for answer in find(association, peer, question("STUDY", PatientID=patient_id, StudyInstanceUID="")):
        if str(answer.get("PatientID", "")).strip() == patient_id.strip() and answer.get("StudyInstanceUID"):
            yield str(answer.StudyInstanceUID)


def series_of(association: Association, peer: QueryPeer, study_uid: str) -> Iterator[RemoteSeries]:
    wanted = {"Modality": "", "SeriesDescription": "", "NumberOfSeriesRelatedInstances": ""}
    identifier = question("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", **wanted)
    for answer in find(association, peer, identifier):
        if answer.get("Modality") == "CT" and answer.get("SeriesInstanceUID"):
            count = whole(answer, "NumberOfSeriesRelatedInstances")
            description = str(answer.get("SeriesDescription", ""))
            yield RemoteSeries(study_uid, str(answer.SeriesInstanceUID), description, count)


def move(local: Local, peer: QueryPeer, series: RemoteSeries, to_ae: str) -> Retrieved:
    """C-MOVE: the PACS sends the series to `to_ae`, whose address it must know. Raises DeliveryError."""
    with associated(local, peer, [build_context(MOVE)], RETRIEVE_WAITS) as association:
        return outcome(peer, association.send_c_move(identifier_of(series), to_ae, MOVE))


def get(local: Local, peer: QueryPeer, series: RemoteSeries, take: Callable[[Dataset], int]) -> Retrieved:
    """C-GET: the PACS sends the series on this association; `take` answers each image with a status."""
    syntaxes: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    contexts = [build_context(GET), build_context(CTImageStorage, syntaxes)]
    contexts += [build_context(CTImageStorage, [syntax]) for syntax in LOSSLESS]
    handlers = [(evt.EVT_C_STORE, lambda event: take(received(event)))]
    role = build_role(CTImageStorage, scp_role=True)
    with associated(local, peer, contexts, RETRIEVE_WAITS, handlers, [role]) as association:
        return outcome(peer, association.send_c_get(identifier_of(series), GET))


def received(event: Any) -> Dataset:
    dataset: Dataset = event.dataset
    dataset.file_meta = event.file_meta
    return dataset


def identifier_of(series: RemoteSeries) -> Dataset:
    return question("SERIES", StudyInstanceUID=series.study_uid, SeriesInstanceUID=series.series_uid)


def outcome(peer: QueryPeer, answers: Iterator[tuple[Dataset, Dataset | None]]) -> Retrieved:
    """Follow a retrieval to its end; raises DeliveryError if the PACS stops answering."""
    for status, _ in answers:
        if "Status" not in status:
            raise DeliveryError(f"{peer.name}: the retrieval was cut off without an answer")
        if status.Status not in PENDING:
            keywords = ("Completed", "Warning", "Failed")
            done, warned, failed = (whole(status, f"NumberOf{word}Suboperations") or 0 for word in keywords)
            return Retrieved(done, warned, failed, int(status.Status))
    raise DeliveryError(f"{peer.name}: the retrieval ended without a final answer")
