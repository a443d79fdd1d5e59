"""Who may associate: AE titles, addresses and, over TLS, certificates. Decisions only; sockets are elsewhere."""

import ipaddress
import socket
import time
from dataclasses import dataclass, field

from rtseg_daemon.config.sections import Caller
from rtseg_daemon.dicom.tls import Certificate
from rtseg_daemon.receive.negotiation import UNKNOWN_CALLED, UNKNOWN_CALLER, Refusal

RESOLVE_SECONDS = 60.0


@dataclass
class Resolver:
    """Addresses of host names, asked for anew every minute; an address or network stands for itself."""

    known: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)

    def holds(self, host: str, address: str) -> bool:
        """Whether `address` is the host `host` (a name, an address or a network such as 10.1.0.0/16)."""
        try:
            return ipaddress.ip_address(address) in ipaddress.ip_network(host, strict=False)
        except ValueError:
            return address in self._addresses(host)

    def _addresses(self, host: str) -> frozenset[str]:
        at, addresses = self.known.get(host, (0.0, frozenset()))
        if time.monotonic() - at > RESOLVE_SECONDS or not addresses:
            try:
                addresses = frozenset(str(info[4][0]) for info in socket.getaddrinfo(host, None))
            except OSError:
                addresses = frozenset()
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

    def refusal(self, calling: str, called: str, address: str, certificate: Certificate | None) -> Refusal | None:
        """Why this peer is rejected, or None. `certificate` is that of a TLS connection, verified against the CA."""
        if not self._known(calling, address, certificate):
            return UNKNOWN_CALLER
        return None if called == self.our_title else UNKNOWN_CALLED

    def _known(self, calling: str, address: str, certificate: Certificate | None) -> bool:
        if not self.allowed:
            return ipaddress.ip_address(address).is_loopback
        return any(
            caller.ae_title == calling and self.resolver.holds(caller.host, address) and bound(caller, certificate)
            for caller in self.allowed
        )


def bound(caller: Caller, certificate: Certificate | None) -> bool:
    """Whether the certificate is the one this caller is bound to; a bound caller may not come without TLS."""
    if caller.fingerprint is None and caller.san is None:
        return True
    if certificate is None:
        return False
    if caller.fingerprint is not None and caller.fingerprint != certificate.fingerprint:
        return False
    return caller.san is None or caller.san.lower() in (name.lower() for name in certificate.names)
