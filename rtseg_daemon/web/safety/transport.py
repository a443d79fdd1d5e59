"""TLS for browsers: 1.2 at least, with forward secrecy."""

import ssl
from dataclasses import dataclass

from rtseg_daemon.config.web import WebTls
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.logs import log

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""What TLS 1.2 may use (RFC 9325, 4.2). TLS 1.3 has no others."""


def web_context(tls: WebTls) -> ssl.SSLContext:
    """For the dashboard's listener. Raises ConfigError where certificate or key cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=no_password)
    except (OSError, ssl.SSLError) as error:
        missing = [str(path) for path in (tls.certificate, tls.key) if not path.is_file()]
        named = missing[0] if missing else f"{tls.certificate} or {tls.key}"
        raise ConfigError(f"web.tls: {named} cannot be used ({error}); check certificate and key") from error
    return context


def no_password() -> str:
    """A daemon cannot ask: a key under a passphrase is refused instead of waiting at a terminal for one."""
    raise ssl.SSLError("the key is protected by a passphrase")


Stamp = tuple[tuple[int, int, int], ...]


def stamp_of(tls: WebTls) -> Stamp:
    """Changes when one of the files does. Raises OSError where one is not there."""
    return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in (tls.certificate.stat(), tls.key.stat()))


@dataclass
class Renewed:
    """The listener's context, and the one that stands for it once the files are others.

    A certificate of another kind of key that is loaded into a context stands beside the old one, so that a new context
    takes its place in each handshake. OpenSSL asks for it whether or not the browser names a host.
    """

    tls: WebTls
    listener: ssl.SSLContext
    stamp: Stamp = ()

    def __post_init__(self) -> None:
        self.stamp, self.current = stamp_of(self.tls), self.listener
        self.listener.sni_callback = self.hand_over

    def hand_over(self, handshake: ssl.SSLObject, _host: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = self.current

    def look(self) -> None:
        """Read changed files for the next connections. Files that cannot be used leave the ones before in place."""
        try:
            stamp = stamp_of(self.tls)
            if stamp == self.stamp:
                return
            self.stamp = stamp
            self.current = web_context(self.tls)
            log().info("the dashboard's certificate was read again")
        except (OSError, ConfigError) as error:
            log().error("the dashboard's changed certificate cannot be used; the old one stays", exc_info=error)
