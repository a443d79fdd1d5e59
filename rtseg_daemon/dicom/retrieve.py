"""Retrieval as a user (PS3.4, annex C, Study Root): a PACS is asked to send a series, and what it sends is judged."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pydicom.uid import UID, CTImageStorage

from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import PLAIN, Data, Local, Message, Waits, associated
from rtseg_daemon.dicom.contexts import LOSSLESS, STRUCTURE_SETS
from rtseg_daemon.dicom.datasets import encode
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.proposal import Offer
from rtseg_daemon.dicom.query import RemoteSeries, question
from rtseg_daemon.dicom.scan import ScanError, scan
from rtseg_daemon.errors import DeliveryError

MOVE = UID("1.2.840.10008.5.1.4.1.2.2.2")
GET = UID("1.2.840.10008.5.1.4.1.2.2.3")
STUDY, SERIES = 0x0020000D, 0x0020000E

WAITS = Waits(answer=600.0, total=4 * 3600.0)
MOST_PENDING = 20_000
"""Interim answers to one retrieval. It takes 4 hours at most, which leaves more than one a second."""
MOST_IMAGES = 20_000
"""Images sent for one retrieval. A series has some thousand at most."""

CT_OFFERS = [Offer(CTImageStorage, (syntax,), provides=True) for syntax in (*PLAIN, *map(str, LOSSLESS))]
"""CT images that the peer is to send to us, each transfer syntax in a context of its own."""

SET_OFFERS = [Offer(STRUCTURE_SETS, (syntax,), provides=True) for syntax in PLAIN]
"""The same for structure sets."""

Take = Callable[[Message], Status]


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


@dataclass
class Judge:
    """Takes the images of one series and no others, and counts them: what the peer says of them is not relied on."""

    peer: QueryPeer
    series: RemoteSeries
    take: Take
    taken: int = 0
    refused: int = 0
    instances: set[str] = field(default_factory=set)

    def __call__(self, message: Message) -> Status:
        """What an image is answered with. Raises DeliveryError where they come without end."""
        if self.taken + self.refused >= MOST_IMAGES:
            raise DeliveryError(
                f"{self.peer.name}: C-GET was cut off after {MOST_IMAGES} images; ask for less at a time"
            )
        status = unasked(message, self.series) or self.take(message)
        if status.code == dimse.SUCCESS or status.code & 0xF000 == dimse.WARNINGS:
            self.taken += 1
            self.instances.add(message.command.text(dimse.AFFECTED_INSTANCE))
        else:
            self.refused += 1
        return status

    def counted(self, said: Retrieved) -> Retrieved:
        """What the peer says, with our own counts. Raises DeliveryError where it calls nothing at all a success."""
        if said.status == dimse.SUCCESS and not self.taken and not self.refused and not said.failed:
            raise DeliveryError(f"{self.peer.name}: C-GET succeeded, and no image came; look at the archive's log")
        done = max(0, len(self.instances) - said.warnings)
        return replace(said, completed=done, warnings=len(self.instances) - done, failed=max(said.failed, self.refused))


def unasked(message: Message, series: RemoteSeries) -> Status | None:
    """The refusal of what is no image of this series, or None if it is one."""
    if message.context.sop_class != message.command.text(dimse.AFFECTED_CLASS):
        return Status(dimse.UNSUPPORTED_CLASS, "not the class of its presentation context")
    try:
        found = scan(memoryview(message.data), message.context.syntax, (STUDY, SERIES))
    except ScanError as error:
        return Status(dimse.CANNOT_UNDERSTAND, str(error))
    if (found.text(STUDY), found.text(SERIES)) != (series.study_uid, series.series_uid):
        return Status(dimse.NOT_AUTHORISED, "not of the series that was asked for")
    return None


def move(local: Local, peer: QueryPeer, series: RemoteSeries, to_ae: str, waits: Waits = WAITS) -> Retrieved:
    """C-MOVE: the PACS sends the series to `to_ae`, whose address it must know. Raises DeliveryError."""
    with associated(local, peer, [Offer(MOVE, PLAIN)], waits) as association:
        context = association.context(MOVE)
        values = {dimse.AFFECTED_CLASS: MOVE.encode(), dimse.PRIORITY: dimse.short(0)}
        values[dimse.MOVE_DESTINATION] = to_ae.encode()
        data = wanted(series, context.syntax)
        return outcome(peer, association.ask_for_many(context, dimse.C_MOVE_RQ, values, data))


def get(
    local: Local,
    peer: QueryPeer,
    series: RemoteSeries,
    take: Take,
    waits: Waits = WAITS,
    offers: Sequence[Offer] = CT_OFFERS,
) -> Retrieved:
    """C-GET: the PACS sends the series on this association. `take` answers each image of it, and nothing else is taken.

    Raises DeliveryError, of which ContextRefused says that the peer does not serve C-GET.
    """
    judge = Judge(peer, series, take)
    with associated(local, peer, [Offer(GET, PLAIN), *offers], waits) as association:
        context = association.context(GET)
        values = {dimse.AFFECTED_CLASS: GET.encode(), dimse.PRIORITY: dimse.short(0)}
        data, serve = wanted(series, context.syntax), {dimse.C_STORE_RQ: judge}
        said = outcome(peer, association.ask_for_many(context, dimse.C_GET_RQ, values, data, serve))
    return judge.counted(said)


def wanted(series: RemoteSeries, syntax: str) -> Data:
    """The identifier of one series."""
    identifier = question("SERIES", StudyInstanceUID=series.study_uid, SeriesInstanceUID=series.series_uid)
    return Data.of(encode(identifier, syntax))


def outcome(peer: QueryPeer, answers: Iterable[Message]) -> Retrieved:
    """Follow a retrieval to its end. The counts of its final answer are optional. What is not counted is 0.

    Raises DeliveryError where there is no end of interim answers.
    """
    for number, final in enumerate(answers):
        if final.status not in dimse.PENDING:
            break
        if number >= MOST_PENDING:
            raise DeliveryError(f"{peer.name}: the retrieval was cut off after {number} interim answers without an end")
    counted = (dimse.COMPLETED, dimse.WARNING, dimse.FAILED)
    done, warned, failed = (final.command.number(one) if one in final.command.values else 0 for one in counted)
    return Retrieved(done, warned, failed, final.status, final.command.text(dimse.ERROR_COMMENT))
