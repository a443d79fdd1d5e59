"""C-ECHO for a person who wants to know what is wrong. Where one look leaves several explanations, there is a second.

The second look asks: does the peer speak TLS where we do not, or the other way round? It sends nothing but the first
message of a handshake, or an association request.
"""

import contextlib
import ssl
import time
from dataclasses import dataclass

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import PLAIN, Local, Peer, Waits, echo_and_security, names_of
from rtseg_daemon.dicom.contexts import VERIFICATION
from rtseg_daemon.dicom.line import Line, connected
from rtseg_daemon.dicom.proposal import Offer, encode_proposal
from rtseg_daemon.dicom.statuses import told
from rtseg_daemon.dicom.trouble import CallNames, NoAssociation, Trouble, plain_peer, tls_peer
from rtseg_daemon.dicom.wire import PeerError, PeerLimits
from rtseg_daemon.errors import DeliveryError

OFFERS = [Offer(VERIFICATION, PLAIN)]
SECONDS = 5.0


@dataclass(frozen=True)
class Echoed:
    """What a C-ECHO showed. `trouble` is None where all is well. `tls`: what protects the connection."""

    status: str | None = None
    tls: str | None = None
    trouble: Trouble | None = None


def asked(local: Local, peer: Peer, waits: Waits = Waits()) -> Echoed:
    """C-ECHO. Raises ConfigError where our own certificate cannot be used."""
    try:
        answer, tls = echo_and_security(local, peer, waits)
    except NoAssociation as error:
        return Echoed(trouble=looked_into(error.trouble, names_of(local, peer), encrypted=peer.tls))
    except DeliveryError as error:
        return Echoed(trouble=Trouble("echo", str(error), f"see the log of {peer.name}"))
    status = f"0x{answer:04X}"
    if answer == dimse.SUCCESS:
        return Echoed(status, tls)
    return Echoed(
        status, tls, Trouble("status", f"C-ECHO was answered by {told(answer)}", f"see the log of {peer.name}")
    )


def looked_into(found: Trouble, names: CallNames, *, encrypted: bool) -> Trouble:
    """`found`, or what a second look says instead. `encrypted`: the first one was over TLS."""
    if found.is_certain:
        return found
    if encrypted:
        return plain_peer(names) if speaks_dicom(names) else found
    return tls_peer(names) if speaks_tls(names) else found


def speaks_tls(names: CallNames) -> bool:
    """Whether it answers the first message of a TLS handshake as TLS does, be it by refusing us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError), connected(names.host, names.port, SECONDS) as sock:
        try:
            with context.wrap_socket(sock, server_hostname=names.host, do_handshake_on_connect=False) as wrapped:
                wrapped.settimeout(SECONDS)
                wrapped.do_handshake()
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        return True
    return False


def speaks_dicom(names: CallNames) -> bool:
    """Whether it answers an association request that is not encrypted by a PDU, be it a rejection."""
    limits = PeerLimits()
    try:
        line = Line(connected(names.host, names.port, SECONDS), limits, SECONDS, SECONDS)
    except OSError:
        return False
    with contextlib.closing(line):
        line.deadline = time.monotonic() + SECONDS
        try:
            line.send(encode_proposal(names.calling, names.called, OFFERS, limits))
            line.read_pdu(limits.request_bytes)
        except PeerError:
            return False
    return True
