"""The wire of an association that we open: every call to the system has a time limit, whatever trickles in."""

import socket
import ssl
import time

from rtseg_daemon.dicom.names import looked_up
from rtseg_daemon.dicom.wire import PeerGone, PeerLimits, Wire


class Line(Wire):
    """A connection to a peer that we called.

    `deadline` is for what is waited for at the moment, however little of it may come at a time. `end` is for
    everything on the association. Both are of the monotonic clock.

    Args:
        sock: connected.
        limits: what is read at most.
        total_seconds: until `end`. Sending objects adds to it (`extend`).
        stall_seconds: how long the peer may take nothing of what is sent to it.
    """

    def __init__(self, sock: socket.socket, limits: PeerLimits, total_seconds: float, stall_seconds: float) -> None:
        super().__init__(sock, limits)
        self.end = time.monotonic() + total_seconds
        self.stall_seconds = stall_seconds

    def allow(self, seconds: float) -> None:
        """The peer has `seconds` from now on, and not beyond the end of all."""
        self.deadline = min(time.monotonic() + seconds, self.end)

    def extend(self, seconds: float) -> None:
        """So much longer may the association last."""
        self.end += seconds

    def _hurry(self, longest: float = float("inf")) -> None:
        """Bound the next call to the system. Raises TimeoutError where nothing is left."""
        left = self.deadline - time.monotonic()
        if left <= 0.0:
            raise TimeoutError
        self.socket.settimeout(min(left, longest))

    def _receive(self, view: memoryview) -> int:
        try:
            self._hurry()
            return super()._receive(view)
        except TimeoutError as error:
            raise PeerGone("no answer in the time allowed, or only a part of one") from error

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                self._hurry(self.stall_seconds)
                view = view[self.socket.send(view) :]
        except TimeoutError as error:
            raise PeerGone("what was sent was not taken in the time allowed") from error
        except OSError as error:
            raise PeerGone(f"connection lost while sending ({error.strerror or type(error).__name__})") from error

    def shake_hands(self, context: ssl.SSLContext, host: str) -> None:
        """Go on over TLS with who must be `host`. Raises OSError (ssl.SSLError among them) where that fails."""
        wrapped = context.wrap_socket(self.socket, server_hostname=host, do_handshake_on_connect=False)
        self.secure(wrapped)
        self._hurry()
        wrapped.do_handshake()


def connected(host: str, port: int, seconds: float) -> socket.socket:
    """A TCP connection to the first address of `host` that takes one, look-up included in time. Raises OSError."""
    deadline = time.monotonic() + seconds
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, address in looked_up(host, port, seconds):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure
