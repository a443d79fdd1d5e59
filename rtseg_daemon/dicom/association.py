"""Associations that we open: requests sent one at a time, every answer matched with its request, every wait bounded.

The peer is trusted no more than one that calls us: what it sends is bounded in bytes, what it delays by deadlines.
"""

import contextlib
import io
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rtseg_daemon.config.sections import DestinationPeer, QueryPeer, Tls
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.contexts import VERIFICATION
from rtseg_daemon.dicom.dimse import Command, Status
from rtseg_daemon.dicom.line import Line, connected
from rtseg_daemon.dicom.proposal import Agreement, Context, Offer, agreement, encode_proposal
from rtseg_daemon.dicom.tls import client_context, negotiated
from rtseg_daemon.dicom.trouble import CallNames, NoAssociation, of_connecting, of_handshake, of_proposal
from rtseg_daemon.dicom.wire import (
    ABORT,
    RELEASE_RP,
    RELEASE_RQ,
    PeerError,
    PeerFault,
    PeerGone,
    PeerLimits,
    abort_pdu,
    encode_command,
    encode_fragment,
    release_reply,
    release_request,
)
from rtseg_daemon.errors import ContextRefused, DeliveryError, StorageError
from rtseg_daemon.logs import log

PLAIN = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""Transfer syntaxes offered for everything that is not an image."""

ANSWER_BYTES = 2**20
"""Largest data set of an answer or of a report: some thousand failed images by name are less."""

LAST_WORDS_SECONDS = 1.0


@dataclass(frozen=True)
class Waits:
    """Longest waits in seconds.

    Args:
        connect: for the TCP connection and the TLS handshake.
        associate: for the answer to the association request.
        answer: for each answer from its request to its last byte, and for a peer that takes nothing of what is sent.
        total: for everything on one association. Objects sent add their share.
        release: for the answer to the release.
        bytes_per_second: below this rate an object that is sent takes too long (128 kbit/s).
    """

    connect: float = 10.0
    associate: float = 20.0
    answer: float = 60.0
    total: float = 300.0
    release: float = 5.0
    bytes_per_second: float = 16 * 1024.0


@dataclass(frozen=True)
class Local:
    """Who we are to the peer: our AE title, and the certificate where TLS is used."""

    ae_title: str
    tls: Tls | None = None


Peer = DestinationPeer | QueryPeer


@dataclass(frozen=True)
class Data:
    """An encoded data set: `length` bytes from where `stream` stands."""

    stream: BinaryIO
    length: int

    @classmethod
    def of(cls, content: bytes) -> "Data":
        return cls(io.BytesIO(content), len(content))


@dataclass(frozen=True)
class Message:
    """A whole message of the peer's. `data` is empty where it has no data set."""

    context: Context
    command: Command
    data: bytes

    @property
    def status(self) -> int:
        return self.command.number(dimse.STATUS)


Serve = Mapping[int, Callable[[Message], Status]]
"""What the peer may ask of us meanwhile: command field -> what answers it."""

NOTHING: Serve = {}


class Association:
    """An established association. Its methods raise PeerError where it cannot go on."""

    def __init__(self, line: Line, waits: Waits, agreed: Agreement) -> None:
        self.line = line
        self.waits = waits
        self.agreed = agreed
        self._last_id = 0
        self._ended = False

    def context(self, sop_class: str, *syntaxes: str) -> Context:
        """The accepted context of this class, by preference of `syntaxes`. Raises ContextRefused if there is none."""
        found = {one.syntax: one for one in self.agreed.contexts.values() if one.sop_class == sop_class}
        for syntax in syntaxes or found:
            if syntax in found:
                return found[syntax]
        raise ContextRefused(f"{UID(sop_class).name} is not accepted in the form that we have")

    def ask(
        self,
        context: Context,
        field: int,
        values: Mapping[int, bytes],
        data: Data | None = None,
        serve: Serve = NOTHING,
    ) -> Message:
        """Send a request and give its one answer. `serve` has what answers the peer's own requests before that."""
        asked = self._request(context, field, values, data)
        return self._answer(context, asked, serve)

    def ask_for_many(
        self, context: Context, field: int, values: Mapping[int, bytes], data: Data, serve: Serve = NOTHING
    ) -> Iterator[Message]:
        """Send a request and give its answers, the final one last. Nothing else may be asked before that."""
        asked = self._request(context, field, values, data)
        while True:
            answer = self._answer(context, asked, serve)
            yield answer
            if answer.status not in dimse.PENDING:
                return

    def echo(self) -> int:
        """C-ECHO. Returns its status."""
        values = {dimse.AFFECTED_CLASS: VERIFICATION.encode()}
        return self.ask(self.context(VERIFICATION), dimse.C_ECHO_RQ, values).status

    def store(self, context: Context, instance: str, data: Data) -> Status:
        """C-STORE of one object in the context's transfer syntax."""
        values = {
            dimse.AFFECTED_CLASS: context.sop_class.encode(),
            dimse.AFFECTED_INSTANCE: instance.encode(),
            dimse.PRIORITY: dimse.short(0),
        }
        answer = self.ask(context, dimse.C_STORE_RQ, values, data)
        return Status(answer.status, answer.command.text(dimse.ERROR_COMMENT)[:64])

    def listen(self, seconds: float, serve: Serve, until: Callable[[], bool]) -> None:
        """Answer what the peer asks until `until` holds, `seconds` at most. That it asks nothing is no fault."""
        end = time.monotonic() + seconds
        while not until():
            self.line.allow(end - time.monotonic())
            try:
                self._serve(self._read(serve), serve)
            except PeerGone:
                if self.line.is_silent and self.line.is_overdue:
                    return
                raise

    def release(self) -> None:
        """An orderly end. What the peer still sends is thrown away, and that it does not answer changes nothing."""
        if self._ended:
            return
        self._ended = True
        self.line.allow(self.waits.release)
        try:
            self.line.send(release_request())
            while (kind := self.line.read_pdu(self.line.limits.pdu_bytes)[0]) not in (RELEASE_RP, ABORT):
                if kind == RELEASE_RQ:
                    self.line.send(release_reply())
        except PeerError as error:
            log().debug("a release was not answered", reason=str(error))
        finally:
            self.line.close()

    def abort(self) -> None:
        """End it at once. Whether the peer hears of it does not matter."""
        if self._ended:
            return
        self._ended = True
        self.line.allow(LAST_WORDS_SECONDS)
        try:
            self.line.send(abort_pdu(provider=False))
        except PeerError:
            return
        finally:
            self.line.close()

    def _request(self, context: Context, field: int, values: Mapping[int, bytes], data: Data | None) -> Command:
        """Send a request under an id that no request before had. Returns its command set."""
        self._last_id = self._last_id % 0xFFFF + 1
        asked = dimse.request(field, self._last_id, values, has_data=data is not None)
        seconds = (data.length if data else 0) / self.waits.bytes_per_second
        self.line.extend(seconds)
        self.line.allow(self.waits.answer + seconds)
        self.line.send(encode_command(context.id, dimse.encode_command_set(asked.values)))
        if data is not None:
            self._send_data(context, data)
        self.line.allow(self.waits.answer)
        return asked

    def _send_data(self, context: Context, data: Data) -> None:
        """In pieces of the length that the peer takes, even ones. Raises StorageError if data are missing."""
        left, room = data.length, (self.agreed.pdu_bytes - 6) // 2 * 2
        while True:
            piece = data.stream.read(min(left, room))
            left -= len(piece)
            if left and not piece:
                raise StorageError("a file became shorter while it was sent; run doctor")
            self.line.send(encode_fragment(context.id, piece, is_command=False, is_last=not left))
            if not left:
                return

    def _answer(self, context: Context, asked: Command, serve: Serve) -> Message:
        """The next answer to the request that is outstanding."""
        while True:
            message = self._read(serve, context, asked)
            if message.command.field & dimse.RESPONSE:
                self.line.allow(self.waits.answer)
                return message
            self._serve(message, serve)
            self.line.allow(self.waits.answer)

    def _read(self, serve: Serve, context: Context | None = None, asked: Command | None = None) -> Message:
        """A whole message. Raises PeerFault for one that is neither the answer to `asked` nor a request in `serve`.

        It is judged by its command set, before its data set is read.
        """
        first = self.line.read_fragment()
        command = dimse.read_command(self.line, first)
        on = self.agreed.contexts.get(first.context_id)
        if on is None:
            raise PeerFault("a message on a presentation context that was not accepted")
        if not command.field & dimse.RESPONSE:
            if command.field not in serve:
                raise PeerFault(f"message 0x{command.field:04X} is not served here")
        elif asked is None:
            raise PeerFault(f"message 0x{command.field:04X} answers nothing that was asked")
        elif on != context:
            raise PeerFault("the answer came on another presentation context than its request")
        elif reason := dimse.misfit(asked, command):
            raise PeerFault(reason)
        largest = self.line.limits.object_bytes if command.field == dimse.C_STORE_RQ else ANSWER_BYTES
        return Message(on, command, dimse.read_small_data(self.line, on.id, largest) if command.has_data else b"")

    def _serve(self, message: Message, serve: Serve) -> None:
        """Answer what the peer asks."""
        status = serve[message.command.field](message)
        self.line.allow(self.waits.answer)
        self.line.send(encode_command(message.context.id, dimse.encode_response(message.command, status)))


@contextmanager
def associated(local: Local, peer: Peer, offers: Sequence[Offer], waits: Waits = Waits()) -> Iterator[Association]:
    """An established association with `peer`, released at the end of the block (aborted on an error).

    Raises DeliveryError naming what the peer or the network did if there is none, or if it breaks in the block.
    """
    association = establish(local, peer, offers, waits)
    try:
        yield association
    except ContextRefused as error:
        association.release()
        raise ContextRefused(f"{peer.name}: {error}") from error
    except PeerError as error:
        association.abort()
        raise DeliveryError(f"{peer.name}: {error}") from error
    except BaseException:
        association.abort()
        raise
    association.release()


def establish(local: Local, peer: Peer, offers: Sequence[Offer], waits: Waits) -> Association:
    """Connect, shake hands where TLS is asked for, propose. Raises NoAssociation, or DeliveryError before all that."""
    names = names_of(local, peer)
    line = call(local, peer, waits, names)
    try:
        line.allow(waits.associate)
        kind, body = propose(line, encode_proposal(local.ae_title, peer.ae_title, offers, line.limits))
        agreed = agreement(kind, body, offers, line.limits)
    except PeerError as error:
        line.close()
        raise NoAssociation("no association", names, of_proposal(error, line.began_with, names)) from error
    return Association(line, waits, agreed)


def names_of(local: Local, peer: Peer) -> CallNames:
    return CallNames(peer.name, peer.host, peer.port, peer.ae_title, local.ae_title)


def propose(line: Line, proposal: bytes) -> tuple[int, memoryview]:
    """Send an association request. Returns the PDU that answers it. Who hangs up meanwhile may first have said why."""
    with contextlib.suppress(PeerGone):
        line.send(proposal)
    return line.read_pdu(line.limits.request_bytes)


def call(local: Local, peer: Peer, waits: Waits, names: CallNames) -> Line:
    """A connection to the peer, encrypted where it is configured so. Raises DeliveryError, ConfigError."""
    if peer.tls and local.tls is None:
        raise DeliveryError(f"{peer.name} wants TLS, and dicom.tls names no certificate")
    context = client_context(local.tls) if peer.tls and local.tls else None
    deadline = time.monotonic() + waits.connect
    try:
        sock = connected(peer.host, peer.port, waits.connect)
    except OSError as error:
        raise NoAssociation("no connection", names, of_connecting(error, names)) from error
    line = Line(sock, PeerLimits(), waits.total, waits.answer)
    if context is not None:
        line.allow(deadline - time.monotonic())
        try:
            line.shake_hands(context, peer.host)
        except OSError as error:
            line.close()
            raise NoAssociation("no connection over TLS", names, of_handshake(error, names)) from error
    return line


def echo(local: Local, peer: Peer, waits: Waits = Waits()) -> int:
    """C-ECHO. Returns its status. Raises DeliveryError if there is no association or no answer."""
    return echo_and_security(local, peer, waits)[0]


def echo_and_security(local: Local, peer: Peer, waits: Waits = Waits()) -> tuple[int, str]:
    """C-ECHO. Returns its status and what protects the connection. Raises as `echo` does."""
    with associated(local, peer, [Offer(VERIFICATION, PLAIN)], waits) as association:
        connection = association.line.socket
        security = negotiated(connection) if isinstance(connection, ssl.SSLSocket) else "not encrypted"
        return association.echo(), security
