"""The DICOM Upper Layer read from a stranger, with a bound on every size (PS3.8, 9.3).

pynetdicom is used for what it does well: encoding and decoding association PDUs, and negotiating presentation contexts.
Its network code is not used. In the version named in `proposal.py` it reads a PDU of whatever length is announced,
waits without limit for one that is begun, queues messages without limit, and polls every millisecond in two threads
per association. Here one thread reads one socket. Of an association that a peer opens a watchdog (see
`receive/listener.py`) ends what is overdue. Of one that we open every call has a time limit (`line.py`). While an
object is being stored nothing is read, so that TCP itself slows the sender down.

`tests/unit/dicom/test_wire.py` fails when another version of pynetdicom is installed: read its changes, then pin it.
"""

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rtseg_daemon.errors import RtsegError

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
ANY_LENGTH = (ASSOCIATE_RQ, ASSOCIATE_AC, P_DATA_TF)
"""PDU types that say how long they are. All others have four bytes."""


@dataclass(frozen=True)
class PeerLimits:
    """What one peer may ask of us.

    Args:
        request_bytes: largest A-ASSOCIATE-RQ or -AC (128 contexts with all their syntaxes take some 60 KB).
        pdu_bytes: largest P-DATA-TF PDU, advertised and held to.
        command_bytes: largest command set.
        object_bytes: largest data set.
        request_seconds: from the TCP connection to the complete association request, TLS handshake included.
        idle_seconds: between two messages.
        message_seconds: from a message's first byte to its answer.
    """

    request_bytes: int = 256 * 1024
    pdu_bytes: int = 128 * 1024
    command_bytes: int = 16 * 1024
    object_bytes: int = 128 * 2**20
    request_seconds: float = 10.0
    idle_seconds: float = 60.0
    message_seconds: float = 120.0


class PeerError(RtsegError):
    """The association cannot go on, because of the peer or of the network."""


class PeerFault(PeerError):
    """The peer broke the protocol or a limit. The association is aborted."""


class PeerGone(PeerError):
    """The connection ended without a release: closed, reset, aborted by the peer, or cut off as overdue."""


class PeerReleased(PeerError):
    """The peer asked for an orderly release."""


@dataclass(frozen=True)
class Fragment:
    """One presentation data value: a piece of a command set or of a data set (PS3.8, 9.3.5.1 and E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class Wire:
    """One connected socket. `deadline` is when the watchdog may cut it off, `worth` when it last brought something."""

    def __init__(self, sock: socket.socket, limits: PeerLimits) -> None:
        self.socket = sock
        self.limits = limits
        self.deadline = time.monotonic() + limits.request_seconds
        self.worth = time.monotonic()
        self._is_cut = False
        self._begun = False
        self._head = bytearray(6)
        self._flags: int = socket.MSG_WAITALL  # one call for a whole PDU; threads meet at Python's lock less often
        self._body = bytearray()
        self._fragments: Iterator[Fragment] = iter(())

    def allow(self, seconds: float) -> None:
        """The peer has `seconds` from now on."""
        self.deadline = time.monotonic() + seconds

    @property
    def is_overdue(self) -> bool:
        return time.monotonic() > self.deadline

    @property
    def is_silent(self) -> bool:
        """Whether the peer has not begun to send anything that it was expected to send."""
        return not self._begun

    @property
    def began_with(self) -> bytes:
        """The first bytes of what the peer said last, six at most, for its first answer."""
        return bytes(self._head).rstrip(b"\0") if self._begun else b""

    def cut(self) -> None:
        """Wake whoever waits on this socket, from any thread. It then finds the connection ended."""
        self._is_cut = True
        try:
            # not the method of an SSLSocket, which would first throw its TLS state away under the reader
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        self.socket.close()

    def secure(self, wrapped: socket.socket) -> None:
        """Go on over TLS, whose sockets take no flags. Who was cut off in the meantime stays cut off."""
        self.socket, self._flags = wrapped, 0
        if self._is_cut:
            self.cut()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise PeerGone(f"connection lost while answering ({error.strerror or type(error).__name__})") from error

    def read_pdu(self, largest: int) -> tuple[int, memoryview]:
        """PDU type and body. Raises PeerFault before anything larger than `largest` is read, PeerGone at the end."""
        self._begun = False
        self._fill(memoryview(self._head))
        kind, length = self._head[0], struct.unpack_from(">I", self._head, 2)[0]
        if not 1 <= kind <= 7:
            raise PeerFault(f"unknown PDU type 0x{kind:02X}")
        cap = largest if kind in ANY_LENGTH else 4
        if length > cap:
            raise PeerFault(f"a PDU of {length} bytes was announced; {cap} is the limit")
        if len(self._body) < length:
            self._body = bytearray(max(length, min(self.limits.pdu_bytes, 2 * len(self._body))))
        body = memoryview(self._body)[:length]
        self._fill(body)
        return kind, body

    def _receive(self, view: memoryview) -> int:
        """One call to the system. Returns 0 where the peer has closed."""
        return self.socket.recv_into(view, 0, self._flags)

    def _fill(self, view: memoryview) -> None:
        done = 0
        try:
            while done < len(view):
                count = self._receive(view[done:])
                if count == 0:
                    raise PeerGone("the peer closed the connection")
                self._begun = True
                done += count
        except OSError as error:
            raise PeerGone(f"connection lost ({error.strerror or type(error).__name__})") from error

    def read_fragment(self) -> Fragment:
        """The next piece of a message. Its data are valid until the next call.

        Raises PeerReleased, PeerGone or PeerFault.
        """
        while True:
            fragment = next(self._fragments, None)
            if fragment is not None:
                return fragment
            kind, body = self.read_pdu(self.limits.pdu_bytes)
            if kind == P_DATA_TF:
                self._fragments = fragments(body)
            elif kind == RELEASE_RQ:
                raise PeerReleased("released")
            elif kind == ABORT:
                raise PeerGone("the peer aborted")
            else:
                raise PeerFault(f"PDU type 0x{kind:02X} does not belong here")


def fragments(body: memoryview) -> Iterator[Fragment]:
    """The presentation data values of a P-DATA-TF PDU. Raises PeerFault where their lengths do not add up."""
    offset = 0
    while offset < len(body):
        if offset + 6 > len(body):
            raise PeerFault("a P-DATA-TF PDU ends inside an item's header")
        length, context_id, control = struct.unpack_from(">IBB", body, offset)
        end = offset + 4 + length
        if length < 2 or end > len(body):
            raise PeerFault(f"a presentation data value of {length} bytes does not fit its PDU")
        yield Fragment(context_id, bool(control & 1), bool(control & 2), body[offset + 6 : end])
        offset = end


def encode_fragment(context_id: int, data: bytes, *, is_command: bool, is_last: bool) -> bytes:
    """A P-DATA-TF PDU that carries one presentation data value."""
    length = len(data) + 2
    return struct.pack(">BBIIBB", P_DATA_TF, 0, length + 4, length, context_id, is_command | is_last << 1) + data


def encode_command(context_id: int, command: bytes) -> bytes:
    """A P-DATA-TF PDU that carries one whole command set."""
    return encode_fragment(context_id, command, is_command=True, is_last=True)


def release_request() -> bytes:
    return struct.pack(">BBII", RELEASE_RQ, 0, 4, 0)


def release_reply() -> bytes:
    return struct.pack(">BBII", RELEASE_RP, 0, 4, 0)


def abort_pdu(provider: bool) -> bytes:
    """An A-ABORT, by us as provider (a protocol fault) or as user."""
    return struct.pack(">BBIBBBB", ABORT, 0, 4, 0, 0, 0x02 if provider else 0x00, 0)
