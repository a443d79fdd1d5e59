"""One association to a destination: opened with limits on every wait, used to store objects, released."""

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from rtseg_daemon.config.sections import DestinationPeer, QueryPeer, Tls
from rtseg_daemon.dicom.contexts import VERIFICATION
from rtseg_daemon.dicom.implementation import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from rtseg_daemon.dicom.tls import client_context, negotiated
from rtseg_daemon.errors import DeliveryError


@dataclass(frozen=True)
class Waits:
    """Longest waits in seconds: for a TCP connection, for the association, for each answer."""

    connect: float = 10.0
    associate: float = 20.0
    answer: float = 60.0


@dataclass(frozen=True)
class Local:
    """Who we are to the peer: our AE title, and the certificate where TLS is used."""

    ae_title: str
    tls: Tls | None = None


Peer = DestinationPeer | QueryPeer


def application(local: Local, waits: Waits) -> AE:
    """Our side of an association, with every wait bounded."""
    ae = AE(ae_title=local.ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION
    ae.connection_timeout = waits.connect
    ae.acse_timeout = waits.associate
    ae.dimse_timeout = waits.answer
    ae.network_timeout = waits.answer
    return ae


@contextmanager
def associated(
    local: Local,
    peer: Peer,
    contexts: Sequence[PresentationContext],
    waits: Waits = Waits(),
    handlers: Iterable[tuple[Any, ...]] = (),
    ext_neg: Sequence[Any] = (),
) -> Iterator[Association]:
    """An established association with `peer`, released at the end of the block (aborted on an error).

    Raises DeliveryError naming what the peer or the network did if there is none.
    """
    ae = application(local, waits)
    encrypted = None
    if peer.tls:
        if local.tls is None:
            raise DeliveryError(f"{peer.name} wants TLS, and dicom.tls names no certificate")
        encrypted = (client_context(local.tls), peer.host)
    association = ae.associate(
        peer.host,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.ae_title,
        evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once), *handlers],
        ext_neg=list(ext_neg),
        tls_args=encrypted,
    )
    if not association.is_established:
        raise DeliveryError(f"{peer.name} at {peer.host}:{peer.port}: {why_not(association)}")
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    association.release()


def _send_at_once(event: Any) -> None:
    """Nagle's algorithm would hold back the last fragment of every object for the peer's delayed acknowledgement."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def why_not(association: Association) -> str:
    """Why an association could not be had."""
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return f"association rejected ({answer.result_str}: {answer.reason_str})"
    if answer is not None and not association.accepted_contexts:
        return "association accepted, but none of the offered presentation contexts"
    return "no connection, or no answer to the association request"


def echo(local: Local, peer: Peer, waits: Waits = Waits()) -> int:
    """C-ECHO; returns its status. Raises DeliveryError if there is no association or no answer."""
    return echo_and_security(local, peer, waits)[0]


def echo_and_security(local: Local, peer: Peer, waits: Waits = Waits()) -> tuple[int, str]:
    """C-ECHO; returns its status and what protects the connection. Raises as `echo` does."""
    with associated(local, peer, [build_context(VERIFICATION)], waits) as association:
        connection = association.dul.socket and association.dul.socket.socket
        security = negotiated(connection) if isinstance(connection, ssl.SSLSocket) else "not encrypted"
        answer = association.send_c_echo()
        if "Status" not in answer:
            raise DeliveryError(f"{peer.name}: no answer to C-ECHO")
        return int(answer.Status), security
