"""Query/retrieve as a user (PS3.4, annex C, Study Root): what a PACS has, how many images, and please send it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage

from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import PLAIN, Association, Data, Local, Message, Waits, associated
from rtseg_daemon.dicom.contexts import LOSSLESS
from rtseg_daemon.dicom.datasets import decode, encode
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.files import integer, text
from rtseg_daemon.dicom.proposal import Offer
from rtseg_daemon.dicom.scan import ScanError
from rtseg_daemon.dicom.statuses import told
from rtseg_daemon.errors import DeliveryError

FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
GET = UID("1.2.840.10008.5.1.4.1.2.2.3")

MOST_ANSWERS = 10_000
"""A peer that answers without end is cut off here."""

RETRIEVE_WAITS = Waits(answer=600.0, total=4 * 3600.0)
CT_OFFERS = [Offer(CTImageStorage, (syntax,), provides=True) for syntax in (*PLAIN, *map(str, LOSSLESS))]
"""CT images that the peer is to send to us, each transfer syntax in a context of its own."""


@dataclass(frozen=True)
class RemoteSeries:
    """A CT series that a PACS says it has. `count` is None where it does not say how many images."""

    study_uid: str
    series_uid: str
    description: str
    count: int | None


@dataclass(frozen=True)
class Retrieved:
    """How a C-MOVE or C-GET ended: sub-operations done, with a warning, failed, and its final status with comment."""

    completed: int
    warnings: int
    failed: int
    status: int
    comment: str = ""

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
    """All answers to one C-FIND. Raises DeliveryError if it fails, does not end, or holds one that cannot be read."""
    context = association.context(FIND)
    values = {dimse.AFFECTED_CLASS: FIND.encode(), dimse.PRIORITY: dimse.short(0)}
    answers: list[Dataset] = []
    data = Data.of(encode(identifier, context.syntax))
    for message in association.ask_for_many(context, dimse.C_FIND_RQ, values, data):
        if message.status == dimse.SUCCESS:
            return answers
        if message.status not in dimse.PENDING or len(answers) >= MOST_ANSWERS:
            break
        answers.append(readable(peer, message))
    if message.status in dimse.PENDING:
        raise DeliveryError(f"{peer.name}: C-FIND was cut off after {len(answers)} answers; ask for less at a time")
    why = told(message.status, message.command.text(dimse.ERROR_COMMENT))
    raise DeliveryError(f"{peer.name}: C-FIND failed after {len(answers)} answers ({why}); look at the archive's log")


def readable(peer: QueryPeer, message: Message) -> Dataset:
    """The identifier in an answer to C-FIND. Raises DeliveryError."""
    try:
        return decode(message.data, message.context.syntax)
    except ScanError as error:
        raise DeliveryError(
            f"{peer.name}: an answer to C-FIND cannot be read ({error}); look at the archive's log"
        ) from error


def count_images(local: Local, peer: QueryPeer, study_uid: str, series_uid: str, waits: Waits = Waits()) -> int | None:
    """How many images of a series the PACS has, or None if it does not know the series, or does not count.

    Where it does not fill in NumberOfSeriesRelatedInstances (an optional key), its images are counted one by one.
    """
    uids = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    with associated(local, peer, [Offer(FIND, PLAIN)], waits) as association:
        answers = find(association, peer, question("SERIES", **uids, NumberOfSeriesRelatedInstances=""))
        said = [integer(answer, "NumberOfSeriesRelatedInstances") for answer in answers]
        if not answers or said[0] is not None:
            return said[0] if said else None
        return len(find(association, peer, question("IMAGE", **uids, SOPInstanceUID=""))) or None


def ct_series(
    local: Local, peer: QueryPeer, *, study_uid: str = "", patient_id: str = "", waits: Waits = Waits()
) -> list[RemoteSeries]:
    """The CT series of one study, or of all studies of a patient. Raises DeliveryError if the PACS cannot be asked."""
    with associated(local, peer, [Offer(FIND, PLAIN)], waits) as association:
        studies = [study_uid] if study_uid else list(studies_of(association, peer, patient_id))
        return [series for study in studies for series in series_of(association, peer, study)]


def studies_of(association: Association, peer: QueryPeer, patient_id: str) -> Iterator[str]:
    """StudyInstanceUIDs of exactly this patient: `*` and `?` would be wild cards, and match others."""
    for answer in find(association, peer, question("STUDY", PatientID=patient_id, StudyInstanceUID="")):
        if text(answer, "PatientID").strip() == patient_id.strip() and text(answer, "StudyInstanceUID"):
            yield text(answer, "StudyInstanceUID")


def series_of(association: Association, peer: QueryPeer, study_uid: str) -> Iterator[RemoteSeries]:
    wanted = {"Modality": "", "SeriesDescription": "", "NumberOfSeriesRelatedInstances": ""}
    identifier = question("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", **wanted)
    for answer in find(association, peer, identifier):
        if text(answer, "Modality") == "CT" and text(answer, "SeriesInstanceUID"):
            count = integer(answer, "NumberOfSeriesRelatedInstances")
            yield RemoteSeries(study_uid, text(answer, "SeriesInstanceUID"), text(answer, "SeriesDescription"), count)


def move(local: Local, peer: QueryPeer, series: RemoteSeries, to_ae: str) -> Retrieved:
    """C-MOVE: the PACS sends the series to `to_ae`, whose address it must know. Raises DeliveryError."""
    with associated(local, peer, [Offer(MOVE, PLAIN)], RETRIEVE_WAITS) as association:
        context = association.context(MOVE)
        values = {dimse.AFFECTED_CLASS: MOVE.encode(), dimse.PRIORITY: dimse.short(0)}
        values[dimse.MOVE_DESTINATION] = to_ae.encode()
        return outcome(association.ask_for_many(context, dimse.C_MOVE_RQ, values, wanted(series, context.syntax)))


def get(local: Local, peer: QueryPeer, series: RemoteSeries, take: Callable[[Message], Status]) -> Retrieved:
    """C-GET: the PACS sends the series on this association. `take` answers each image. Raises DeliveryError."""
    with associated(local, peer, [Offer(GET, PLAIN), *CT_OFFERS], RETRIEVE_WAITS) as association:
        context = association.context(GET)
        values = {dimse.AFFECTED_CLASS: GET.encode(), dimse.PRIORITY: dimse.short(0)}
        data, serve = wanted(series, context.syntax), {dimse.C_STORE_RQ: take}
        return outcome(association.ask_for_many(context, dimse.C_GET_RQ, values, data, serve))


def wanted(series: RemoteSeries, syntax: str) -> Data:
    """The identifier of one series."""
    identifier = question("SERIES", StudyInstanceUID=series.study_uid, SeriesInstanceUID=series.series_uid)
    return Data.of(encode(identifier, syntax))


def outcome(answers: Iterable[Message]) -> Retrieved:
    """Follow a retrieval to its end. The counts of its final answer are optional. What is not counted is 0."""
    for final in answers:
        if final.status not in dimse.PENDING:
            break
    counted = (dimse.COMPLETED, dimse.WARNING, dimse.FAILED)
    done, warned, failed = (final.command.number(one) if one in final.command.values else 0 for one in counted)
    return Retrieved(done, warned, failed, final.status, final.command.text(dimse.ERROR_COMMENT))
