"""Who may associate: AE titles, addresses and, over TLS, certificates. Decisions only. Sockets are elsewhere."""

import ipaddress
import socket
import time
from dataclasses import dataclass, field

from rtseg_daemon.config.sections import Caller
from rtseg_daemon.dicom.tls import Certificate
from rtseg_daemon.logs import log
from rtseg_daemon.receive.negotiation import (
    NOT_THIS_MACHINE,
    OTHER_ADDRESS,
    OTHER_CERTIFICATE,
    UNKNOWN_CALLED,
    UNKNOWN_CALLER,
    UNKNOWN_FOR_NOW,
    Rejection,
)

RESOLVE_SECONDS = 60.0


@dataclass
class Resolver:
    """Addresses of host names, asked for anew every minute. An address or network stands for itself.

    While a name cannot be looked up, the last answer counts, however old.
    """

    known: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)

    def holds(self, host: str, address: str) -> bool | None:
        """Whether `address` is the host `host` (a name, an address or a network such as 10.1.0.0/16).

        None where nobody knows: the name cannot be looked up and never could be.
        """
        try:
            return ipaddress.ip_address(address) in ipaddress.ip_network(host, strict=False)
        except ValueError:
            addresses = self._addresses(host)
            return address in addresses if addresses else None

    def _addresses(self, host: str) -> frozenset[str]:
        at, addresses = self.known.get(host, (0.0, frozenset()))
        if time.monotonic() - at > RESOLVE_SECONDS or not addresses:
            try:
                addresses = frozenset(str(info[4][0]) for info in socket.getaddrinfo(host, None))
            except OSError as error:
                reason = error.strerror or type(error).__name__
                log().warning("a caller's host name cannot be looked up", host=host, reason=reason)
            self.known[host] = (time.monotonic(), addresses)
        return addresses


def plain_address(address: str) -> str:
    """An IPv4 address that arrived on an IPv6 socket as the IPv4 address it is."""
    return address.removeprefix("::ffff:")


@dataclass(frozen=True)
class Callers:
    """The configured rule: our own title, and who may call it. Without a list any title may, from loopback only."""

    our_title: str
    allowed: tuple[Caller, ...]
    resolver: Resolver = field(default_factory=Resolver)

    def refusal(self, calling: str, called: str, address: str, certificate: Certificate | None) -> Rejection | None:
        """Why this peer is rejected, or None. `certificate` is that of a TLS connection, verified against the CA.

        Where only the lookup of a name stands between it and an entry of the list, it is told to come again.
        """
        refusal = self._unknown(calling, address, certificate)
        if refusal is None and called != self.our_title:
            return UNKNOWN_CALLED
        return refusal

    def sends_feedback(self, calling: str, address: str, certificate: Certificate | None) -> bool:
        """Whether the structure sets of this peer, which is allowed, are kept."""
        asked = [one for one in self.allowed if one.feedback and one.ae_title == calling and bound(one, certificate)]
        return any(self.resolver.holds(one.host, address) for one in asked)

    def _unknown(self, calling: str, address: str, certificate: Certificate | None) -> Rejection | None:
        """What speaks against the caller itself."""
        if not self.allowed:
            return None if ipaddress.ip_address(address).is_loopback else NOT_THIS_MACHINE
        entries = [one for one in self.allowed if one.ae_title == calling]
        bound_ones = [one for one in entries if bound(one, certificate)]
        answers = [self.resolver.holds(one.host, address) for one in bound_ones]
        if True in answers:
            return None
        if None in answers:
            return UNKNOWN_FOR_NOW
        if bound_ones:
            return OTHER_ADDRESS
        return OTHER_CERTIFICATE if entries else UNKNOWN_CALLER


def bound(caller: Caller, certificate: Certificate | None) -> bool:
    """Whether the certificate is the one this caller is bound to. A bound caller may not come without TLS."""
    if caller.fingerprint is None and caller.san is None:
        return True
    if certificate is None:
        return False
    if caller.fingerprint is not None and caller.fingerprint != certificate.fingerprint:
        return False
    return caller.san is None or caller.san.lower() in (name.lower() for name in certificate.names)
