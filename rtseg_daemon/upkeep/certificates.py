"""Alarms before certificates end: our own, the dashboard's, the CA's, and those of the systems that we send to and ask.

The certificates of systems that only call us are looked at when they do (`receive.session`).
"""

import socket
import ssl
import time
from collections.abc import Sequence

from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import DestinationPeer, QueryPeer, Tls
from rtseg_daemon.config.web import Web
from rtseg_daemon.dicom.tls import client_context
from rtseg_daemon.dicom.validity import EndOfCertificate, end_of, ends_in
from rtseg_daemon.errors import ConfigError, RtsegError
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.logs import log
from rtseg_daemon.upkeep.deadline import cut_off_after

PEER_SECONDS = 10.0


def watch(engine: Engine, config: Config) -> None:
    """An alarm for each certificate that ends in 30 days, in 7, or has ended."""
    tls, now = config.dicom.tls, time.time()
    ends = [*own_ends(tls, now), *web_ends(config.web, now)]
    peers: list[DestinationPeer | QueryPeer] = [*config.destinations, *config.query]
    for peer in peers:
        if peer.tls and tls is not None:
            try:
                ends.append(peer_end(tls, peer, now))
            except (OSError, ValueError, RtsegError) as error:
                log().warning("a peer's certificate could not be looked at", peer=peer.name, error=type(error).__name__)
    tell(engine, ends, now)


def own_ends(tls: Tls | None, now: float) -> list[EndOfCertificate]:
    """Our own certificate, and each of the CA's file. Raises ConfigError for files that hold none."""
    if tls is None:
        return []
    try:
        found = [(f"this daemon ({tls.certificate})", end) for end in ends_in(tls.certificate)[:1]]
        found += [(f"the CA ({tls.ca})", end) for end in ends_in(tls.ca)]
    except (OSError, ValueError) as error:
        raise ConfigError(f"dicom.tls: {tls.certificate} or {tls.ca} cannot be read ({error})") from error
    return [EndOfCertificate(whose, end, end - now) for whose, end in found]


def web_ends(web: Web, now: float) -> list[EndOfCertificate]:
    """The dashboard's certificate, where it has one of its own. Raises ConfigError for a file that cannot be read."""
    if not web.enabled or web.tls is None:
        return []
    try:
        ends = ends_in(web.tls.certificate)[:1]
    except (OSError, ValueError) as error:
        raise ConfigError(f"web.tls: {web.tls.certificate} cannot be read ({error})") from error
    return [EndOfCertificate(f"the dashboard ({web.tls.certificate})", end, end - now) for end in ends]


def peer_end(tls: Tls, peer: DestinationPeer | QueryPeer, now: float) -> EndOfCertificate:
    """When the certificate of a system that we call ends. Raises OSError where there is no handshake.

    The certificate is not verified, since one that has ended must be read too, and nothing is said after the handshake.
    """
    context = client_context(tls)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((peer.host, peer.port), PEER_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=peer.host, do_handshake_on_connect=False) as secure,
        cut_off_after(PEER_SECONDS, lambda: secure),
    ):
        secure.do_handshake()
        end = end_of(secure.getpeercert(binary_form=True) or b"")
    return EndOfCertificate(f"{peer.name} ({peer.host}:{peer.port})", end, end - now)


def tell(engine: Engine, ends: Sequence[EndOfCertificate], now: float) -> None:
    """One alarm for each certificate and stage."""
    for end in ends:
        if end.stage() is not None:
            with writing(engine) as session:
                raise_alarm(session, "certificate", end.key, end.sentence(), at=now)
