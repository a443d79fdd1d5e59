"""Queries as a user (PS3.4, annex C, Study Root): what a PACS has, and how many images."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import UID

from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import PLAIN, Association, Data, Local, Message, Waits, associated
from rtseg_daemon.dicom.datasets import decode, encode
from rtseg_daemon.dicom.files import integer, text
from rtseg_daemon.dicom.proposal import Offer
from rtseg_daemon.dicom.scan import ScanError
from rtseg_daemon.dicom.statuses import told
from rtseg_daemon.errors import DeliveryError

FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")

MOST_ANSWERS = 10_000
"""A peer that answers without end is cut off here."""

MOST_BYTES = 32 * 2**20
"""All answers to one question together: ten thousand of some kilobytes are less."""

MOST_IMAGES = 100_000
"""A series is said to have no more images than this."""


@dataclass(frozen=True)
class RemoteSeries:
    """A CT series that a PACS says it has. `count` is None where it does not say how many images."""

    study_uid: str
    series_uid: str
    description: str
    count: int | None


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
    size = 0
    data = Data.of(encode(identifier, context.syntax))
    for message in association.ask_for_many(context, dimse.C_FIND_RQ, values, data):
        if message.status == dimse.SUCCESS:
            return answers
        size += len(message.data)
        if message.status not in dimse.PENDING or len(answers) >= MOST_ANSWERS or size > MOST_BYTES:
            break
        answers.append(readable(peer, message))
    if message.status in dimse.PENDING:
        raise DeliveryError(f"{peer.name}: C-FIND was cut off after {len(answers)} answers; ask for less at a time")
    why = told(message.status, message.command.text(dimse.ERROR_COMMENT))
    raise DeliveryError(f"{peer.name}: C-FIND failed after {len(answers)} answers ({why}); look at the archive's log")


def readable(peer: QueryPeer, message: Message) -> Dataset:
    """The identifier in an answer to C-FIND. Raises DeliveryError."""
    if not message.data:
        raise DeliveryError(f"{peer.name}: an answer to C-FIND has no identifier; look at the archive's log")
    try:
        return decode(message.data, message.context.syntax)
    except ScanError as error:
        raise DeliveryError(
            f"{peer.name}: an answer to C-FIND cannot be read ({error}); look at the archive's log"
        ) from error


def count_images(local: Local, peer: QueryPeer, study_uid: str, series_uid: str, waits: Waits = Waits()) -> int | None:
    """How many images of a series the PACS has, or None if it does not know the series, or does not count.

    Where it does not fill in NumberOfSeriesRelatedInstances (an optional key), its images are counted one by one.
    What it answers about another series does not count. Raises DeliveryError if it cannot be asked.
    """
    uids = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    with associated(local, peer, [Offer(FIND, PLAIN)], waits) as association:
        found = find(association, peer, question("SERIES", **uids, NumberOfSeriesRelatedInstances=""))
        answers = [one for one in found if is_about(one, series_uid)]
        said = [images_in(answer) for answer in answers]
        if not answers or said[0] is not None:
            return said[0] if said else None
        images = find(association, peer, question("IMAGE", **uids, SOPInstanceUID=""))
        return len(distinct(peer, [one for one in images if is_about(one, series_uid)])) or None


def is_about(answer: Dataset, series_uid: str) -> bool:
    """Whether an answer is about this series. One that does not say is."""
    return text(answer, "SeriesInstanceUID") in ("", series_uid)


def images_in(answer: Dataset) -> int | None:
    """How many images an answer says its series has, or None if it gives no number, or one that cannot be."""
    count = integer(answer, "NumberOfSeriesRelatedInstances")
    return count if count is not None and 0 <= count <= MOST_IMAGES else None


def distinct(peer: QueryPeer, images: list[Dataset]) -> set[str]:
    """SOPInstanceUIDs of images listed one by one. Raises DeliveryError for one without."""
    uids = {text(image, "SOPInstanceUID") for image in images}
    if "" in uids:
        raise DeliveryError(f"{peer.name}: an image was listed without SOPInstanceUID; look at the archive's log")
    return uids


def ct_series(
    local: Local, peer: QueryPeer, *, study_uid: str = "", patient_id: str = "", waits: Waits = Waits()
) -> list[RemoteSeries]:
    """The CT series of one study, or of all studies of a patient. Raises DeliveryError if the PACS cannot be asked."""
    with associated(local, peer, [Offer(FIND, PLAIN)], waits) as association:
        studies = [study_uid] if study_uid else list(studies_of(association, peer, patient_id))
        return [series for study in studies for series in series_of(association, peer, study)]


@dataclass(frozen=True)
class RemoteSet:
    """A structure set that a PACS says it has. `approval` is empty where it does not say."""

    series: RemoteSeries
    sop_instance_uid: str
    approval: str


def structure_sets(local: Local, peer: QueryPeer, study_uid: str, waits: Waits = Waits()) -> list[RemoteSet]:
    """The structure sets of a study. Raises DeliveryError if the PACS cannot be asked."""
    with associated(local, peer, [Offer(FIND, PLAIN)], waits) as association:
        found = []
        for series in series_of(association, peer, study_uid, "RTSTRUCT"):
            uids = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series.series_uid}
            for one in find(association, peer, question("IMAGE", **uids, SOPInstanceUID="", ApprovalStatus="")):
                if is_about(one, series.series_uid) and text(one, "SOPInstanceUID"):
                    status = text(one, "ApprovalStatus").strip().upper()
                    found.append(RemoteSet(series, text(one, "SOPInstanceUID"), status))
        return found


def studies_of(association: Association, peer: QueryPeer, patient_id: str) -> Iterator[str]:
    """StudyInstanceUIDs of exactly this patient: `*` and `?` would be wild cards, and match others."""
    for answer in find(association, peer, question("STUDY", PatientID=patient_id, StudyInstanceUID="")):
        if text(answer, "PatientID").strip() == patient_id.strip() and text(answer, "StudyInstanceUID"):
            yield text(answer, "StudyInstanceUID")


def series_of(
    association: Association, peer: QueryPeer, study_uid: str, modality: str = "CT"
) -> Iterator[RemoteSeries]:
    """The series of this modality in a study."""
    wanted = {"Modality": "", "SeriesDescription": "", "NumberOfSeriesRelatedInstances": ""}
    identifier = question("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", **wanted)
    for answer in find(association, peer, identifier):
        if text(answer, "Modality") == modality and text(answer, "SeriesInstanceUID"):
            series_uid, described = text(answer, "SeriesInstanceUID"), text(answer, "SeriesDescription")
            yield RemoteSeries(study_uid, series_uid, described, images_in(answer))
