"""TLS for browsers: 1.2 at least, with forward secrecy."""

import ssl

from rtseg_daemon.config.web import WebTls
from rtseg_daemon.errors import ConfigError

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
