"""One incoming association from request to release, in one thread on one blocking socket."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.contexts import COMMITMENT
from rtseg_daemon.dicom.dimse import Command, Status
from rtseg_daemon.dicom.tls import Certificate
from rtseg_daemon.dicom.validity import EndOfCertificate
from rtseg_daemon.dicom.wire import (
    ASSOCIATE_RQ,
    PeerFault,
    PeerGone,
    PeerLimits,
    PeerReleased,
    Wire,
    abort_pdu,
    encode_command,
    release_reply,
)
from rtseg_daemon.ledger.rejected_callers import CallerSeen
from rtseg_daemon.ledger.states import Ending
from rtseg_daemon.logs import log
from rtseg_daemon.receive.callers import Callers
from rtseg_daemon.receive.door import Door
from rtseg_daemon.receive.intake import Intake
from rtseg_daemon.receive.negotiation import TOO_MANY, Rejection, accept, decode_request
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.turned_away import TurnedAway

WORTH_BYTES = 16 * 1024
"""So much data show that a peer is at work (see `door`)."""


@dataclass(frozen=True)
class Reception:
    """What every association shares. `event_report` takes N-EVENT-REPORTs where storage commitment is asked for."""

    callers: Callers
    door: Door
    intake: Intake
    limits: PeerLimits
    contexts: list[PresentationContext]
    event_report: Callable[[Command, bytes, str], Status] | None = None
    turned_away: TurnedAway = field(default_factory=TurnedAway)


@dataclass(eq=False)
class Session:
    """One association. `address` is the peer's, `certificate` its verified one, over TLS."""

    reception: Reception
    wire: Wire
    address: str
    certificate: Certificate | None = None
    contexts: dict[int, PresentationContext] = field(default_factory=dict)
    sender: Sender = field(default_factory=lambda: Sender("", ""))
    busy: bool = False
    """True from a message's first byte to its answer."""
    ended: bool = False

    def run(self) -> None:
        """Until the peer releases, aborts, breaks the rules or is cut off. Raises nothing a peer can cause."""
        try:
            if self._associate():
                self._serve()
        except PeerReleased:
            # noted before it is answered: a peer that hears the answer will not send its series again
            self._say(release_reply() if self._end(Ending.RELEASED) else abort_pdu(provider=False))
        except PeerGone as gone:
            log().debug("an association ended", host=self.address, reason=str(gone))
            if self.contexts and not self.busy and self.wire.is_silent and self.wire.is_overdue:
                self._end(Ending.IDLE)
        except PeerFault as fault:
            log().warning("an association is aborted", host=self.address, reason=str(fault))
            self._say(abort_pdu(provider=True))
        finally:
            self._end(Ending.ABORTED)

    def _end(self, ending: Ending) -> bool:
        """Note how it ended, once. Returns False where that could not be noted."""
        if self.ended:
            return True
        self.ended = True
        return self.reception.intake.end(self.sender, ending)

    def _say(self, pdu: bytes) -> None:
        """Last words. Whether they arrive does not matter."""
        self.wire.allow(1.0)
        try:
            self.wire.send(pdu)
        except PeerGone:
            return

    def _associate(self) -> bool:
        """Read the request, accept or reject it."""
        kind, body = self.wire.read_pdu(self.reception.limits.request_bytes)
        if kind != ASSOCIATE_RQ:
            raise PeerFault(f"PDU type 0x{kind:02X} came before an association request")
        request = decode_request(body)
        refusal = self._refusal(request)
        if refusal is not None:
            called = str(request.called_ae_title).strip()
            who = CallerSeen(self.sender.calling_ae, called, self.address, refusal.kind, refusal.why)
            self.reception.turned_away.note(who)
            self._say(refusal.encode())
            return False
        self.contexts, answer = accept(request, self.reception.contexts, self.reception.limits)
        self.wire.send(answer)
        self._warn_of_end()
        return True

    def _warn_of_end(self) -> None:
        """An alarm where the peer's certificate ends soon. Once it has ended there is no association any more."""
        if self.certificate is not None:
            whose = f"{self.sender.calling_ae} ({self.address})"
            end = EndOfCertificate(whose, self.certificate.ends, self.certificate.ends - time.time())
            if end.stage() is not None:
                self.reception.intake.alarm("certificate", end.key, end.sentence())

    def _refusal(self, request: A_ASSOCIATE) -> Rejection | None:
        calling, called = str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
        refusal = self.reception.callers.refusal(calling, called, self.address, self.certificate)
        if refusal is None and not self.reception.door.enter(self.wire, (calling, self.address)):
            refusal = TOO_MANY
        feedback = refusal is None and self.reception.callers.sends_feedback(calling, self.address, self.certificate)
        self.sender = Sender(calling, self.address, feedback=feedback)
        return refusal

    def _serve(self) -> None:
        """Answer one message after the other. The next is not read before this one is answered."""
        while True:
            self.wire.allow(self.reception.limits.idle_seconds)
            first = self.wire.read_fragment()
            self.busy = True
            self.wire.allow(self.reception.limits.message_seconds)
            self._answer(first.context_id, dimse.read_command(self.wire, first))
            self.busy = False

    def _data(self, context_id: int) -> Iterator[memoryview]:
        """The pieces of an object. Notes that the peer is at work."""
        size, worthy = 0, 0
        for piece in dimse.read_data(self.wire, context_id):
            size += len(piece)
            if size - worthy >= WORTH_BYTES:
                worthy, self.wire.worth = size, time.monotonic()
            yield piece

    def _answer(self, context_id: int, command: Command) -> None:
        context = self.contexts.get(context_id)
        if context is None:
            raise PeerFault("a message on a presentation context that was not accepted")
        if command.field == dimse.C_CANCEL_RQ:
            return
        status = self._perform(context_id, context, command)
        self.wire.send(encode_command(context_id, dimse.encode_response(command, status)))

    def _perform(self, context_id: int, context: PresentationContext, command: Command) -> Status:
        sop_class, syntax = str(context.abstract_syntax), str(context.transfer_syntax[0])
        if command.field == dimse.C_ECHO_RQ and not command.has_data:
            return Status(dimse.SUCCESS)
        if command.field == dimse.C_STORE_RQ and command.has_data:
            status = self.reception.intake.take(self.sender, command, sop_class, syntax, self._data(context_id))
            self.wire.worth = time.monotonic()
            return status
        reports = self.reception.event_report
        if command.field == dimse.N_EVENT_REPORT_RQ and command.has_data and reports and sop_class == COMMITMENT:
            return reports(
                command, dimse.read_small_data(self.wire, context_id, self.wire.limits.request_bytes), syntax
            )
        raise PeerFault(f"message 0x{command.field:04X} is not served here")
