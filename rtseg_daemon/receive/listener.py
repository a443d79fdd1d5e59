"""Listening sockets: an accept loop that waits for nobody, a thread per connection, a watchdog over all of them."""

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from rtseg_daemon.dicom.tls import Certificate
from rtseg_daemon.dicom.validity import refused_as_ended
from rtseg_daemon.dicom.wire import Wire
from rtseg_daemon.ledger.rejected_callers import CallerSeen
from rtseg_daemon.logs import log
from rtseg_daemon.receive.callers import plain_address
from rtseg_daemon.receive.session import Reception, Session

BACKLOG = 128
WATCH_SECONDS = 0.2
MOST_CONNECTIONS = 256
"""Threads in all: associations, those at the door, and those just being closed."""


class Secure(Protocol):
    """TLS in two steps, so that the watchdog can cut off the socket that shakes hands: `wrap` takes the other away."""

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """The socket over which to go on. Waits for nobody."""

    def greet(self, wrapped: ssl.SSLSocket) -> Certificate:
        """The handshake. Raises OSError (ssl.SSLError among them) where it fails."""


@dataclass
class ListeningSocket:
    """One listening socket, `secure` where it speaks TLS."""

    socket: socket.socket
    secure: Secure | None = None


def open_port(host: str, port: int, secure: Secure | None = None) -> ListeningSocket:
    """Bind and listen. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return ListeningSocket(socket.create_server((host, port), family=family, backlog=BACKLOG), secure)


class Listener:
    """Accepts on all ports until stopped."""

    def __init__(self, reception: Reception, ports: list[ListeningSocket]) -> None:
        self.reception = reception
        self.ports = ports
        self._sessions: set[Session] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._watch, name="watchdog", daemon=True)]
        self._threads += [threading.Thread(target=self._accept, args=(p,), name="accept", daemon=True) for p in ports]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """No new associations. Those at work have `seconds` to finish the message at hand, then all are cut off."""
        self._stopping.set()
        for port in self.ports:
            cut_listener(port.socket)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(session.busy for session in self._open()):
            time.sleep(0.02)
        for session in self._open():
            session.wire.cut()
        while time.monotonic() < deadline + 1.0 and self._open():
            time.sleep(0.02)

    def _open(self) -> list[Session]:
        with self._lock:
            return list(self._sessions)

    def _accept(self, port: ListeningSocket) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = port.socket.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    log().error("a connection could not be accepted", exc_info=error)
                    time.sleep(0.05)
                continue
            self._welcome(port, connection, plain_address(str(address[0])))

    def _welcome(self, port: ListeningSocket, connection: socket.socket, address: str) -> None:
        """Hand the connection to a thread of its own. Nothing here waits for the peer."""
        session = Session(self.reception, Wire(connection, self.reception.limits), address)
        with self._lock:
            crowded = len(self._sessions) >= MOST_CONNECTIONS
            if not crowded:
                self._sessions.add(session)
        if crowded:
            connection.close()
            return
        self.reception.door.arrive(session.wire)
        thread = threading.Thread(target=self._serve, args=(session, port.secure), name="association", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            log().error("a connection could not be served", exc_info=error)
            self._part(session)

    def _serve(self, session: Session, secure: Secure | None) -> None:
        wire = session.wire
        try:
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            notice_death(wire.socket, self.reception.limits.idle_seconds)
            if secure is not None:
                wrapped = secure.wrap(wire.socket)
                wire.secure(wrapped)
                session.certificate = secure.greet(wrapped)
            session.run()
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            log().warning("a connection failed before its association", host=session.address, reason=str(reason))
            if secure is not None and isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                words = f"TLS was not agreed on: {str(reason).lower().replace('_', ' ')}"
                self.reception.turned_away.note(CallerSeen("", "", session.address, "tls", words))
            if refused_as_ended(error):
                message = f"the certificate that {session.address} calls with has ended; it is refused"
                self.reception.intake.alarm("certificate", f"certificate:{session.address}:ended", message)
        except Exception as error:  # noqa: BLE001 - one association must not end the others
            log().critical("an association broke", host=session.address, exc_info=error)
        finally:
            self._part(session)

    def _part(self, session: Session) -> None:
        self.reception.door.leave(session.wire)
        session.wire.close()
        with self._lock:
            self._sessions.discard(session)

    def _watch(self) -> None:
        """Cut off what is overdue. Threads block in `recv` without a time-out. This ends their waiting."""
        while not self._stopping.wait(WATCH_SECONDS):
            for session in self._open():
                if session.wire.is_overdue:
                    log().warning("an overdue connection is cut off", host=session.address)
                    session.wire.cut()


def notice_death(sock: socket.socket, seconds: float) -> None:
    """Let the kernel ask a silent peer's whether it is there. Where nobody answers for `seconds`, reading fails."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, share in ((socket.TCP_KEEPIDLE, 4), (socket.TCP_KEEPINTVL, 12)):
        sock.setsockopt(socket.IPPROTO_TCP, option, max(1, int(seconds / share)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def cut_listener(sock: socket.socket) -> None:
    """Close a listening socket under a thread that waits in `accept`."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
