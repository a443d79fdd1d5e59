"""TLS for DICOM and between hosts: 1.2 at least, forward secrecy, authenticated encryption, certificates on both sides.

The profile is BCP 195 as in DICOM PS3.15 B.12 (RFC 8996, RFC 9325). Changed certificate files are read again.
"""

import hashlib
import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rtseg_daemon.errors import ConfigError
from rtseg_daemon.logs import log

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""What TLS 1.2 may use (RFC 9325, 4.2). TLS 1.3 has no others."""

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Certificate:
    """What a peer's verified certificate says: its SHA-256 fingerprint, its subject alternative names, and its end
    (seconds since 1970)."""

    fingerprint: str
    names: tuple[str, ...] = ()
    ends: float = float("inf")


class Certified(Protocol):
    """Where our certificate, its key and the partners' CA lie, as a section of the configuration names them."""

    @property
    def certificate(self) -> Path: ...

    @property
    def key(self) -> Path: ...

    @property
    def ca(self) -> Path: ...


def strict(context: ssl.SSLContext, tls: Certified, section: str) -> ssl.SSLContext:
    """Our certificate, the partners' CA and the profile set on `context`. Raises ConfigError for unusable files."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=no_password)
        context.load_verify_locations(tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{section}: {unusable(tls)} cannot be used ({error}); check certificate, key and ca"
        ) from error
    return context


def no_password() -> str:
    """A daemon cannot ask: a key under a passphrase is refused instead of waiting at a terminal for one."""
    raise ssl.SSLError("the key is protected by a passphrase")


def unusable(tls: Certified) -> str:
    """The first of the three files that is not there, or all of them."""
    missing = [str(path) for path in (tls.certificate, tls.key, tls.ca) if not path.is_file()]
    return missing[0] if missing else f"{tls.certificate}, {tls.key} or {tls.ca}"


def server_context(tls: Certified, section: str = "dicom.tls") -> ssl.SSLContext:
    """For the listener: clients must show a certificate of the CA."""
    return strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls, section)


def client_context(tls: Certified, section: str = "dicom.tls") -> ssl.SSLContext:
    """For sending and asking: the partner's certificate must be of the CA and name the host that was called."""
    context = strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls, section)
    context.check_hostname = True
    return context


def stamp_of(tls: Certified) -> Stamp:
    """Changes when any of the three files does."""
    found = []
    for path in (tls.certificate, tls.key, tls.ca):
        stat = Path(path).stat()
        found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


@dataclass
class ServerTls:
    """The listener's side: one context, made anew when its files have changed."""

    tls: Certified
    section: str = "dicom.tls"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.context = server_context(self.tls, self.section)
        self.stamp = stamp_of(self.tls)

    def current(self) -> ssl.SSLContext:
        """The context for the next connection. Files that cannot be used leave the one before in place."""
        with self.lock:
            try:
                stamp = stamp_of(self.tls)
                if stamp != self.stamp:
                    self.context, self.stamp = server_context(self.tls, self.section), stamp
                    log().info("certificates read again")
            except (OSError, ConfigError) as error:
                log().error("changed certificates cannot be used; the old ones stay", exc_info=error)
            return self.context

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """See `listener.Secure`."""
        return self.current().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def greet(self, wrapped: ssl.SSLSocket) -> Certificate:
        """Called in the connection's own thread."""
        wrapped.do_handshake()
        return certificate_of(wrapped)


def certificate_of(connection: ssl.SSLSocket) -> Certificate:
    """The peer's verified certificate."""
    raw = connection.getpeercert(binary_form=True) or b""
    shown = connection.getpeercert() or {}
    names = tuple(str(entry[1]) for entry in shown.get("subjectAltName", ()))
    ends = ssl.cert_time_to_seconds(str(shown["notAfter"])) if "notAfter" in shown else float("inf")
    return Certificate(hashlib.sha256(raw).hexdigest(), names, ends)


def negotiated(connection: ssl.SSLSocket) -> str:
    """What was agreed on, for `rtseg-daemon echo`: protocol, cipher, and the fingerprint of the peer's certificate."""
    cipher = connection.cipher()
    name = cipher[0] if cipher else "no cipher"
    return f"{connection.version()}, {name}, peer certificate SHA-256 {certificate_of(connection).fingerprint}"
