"""Under which name, and by which way, the dashboard may be asked.

A page of somebody else can make a browser believe that its own name leads to us (DNS rebinding), or put a name of its
own into our links. So a request names one of our hosts, or is refused.
"""

import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from rtseg_daemon.config.web import LOOPBACK, Web
from rtseg_daemon.web.safety.answers import refuse

HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True)
class Refusal:
    """Status and sentence of an answer to a request that is not let in."""

    status: int
    sentence: str


def our_names(web: Web) -> frozenset[str]:
    """What the dashboard may be called: the names that are configured, and this machine's own on loopback."""
    local = LOOPBACK if web.host in LOOPBACK else frozenset((web.host,))
    return frozenset(name.lower() for name in (*local, *web.names))


def host_fault(given: list[bytes], ours: frozenset[str]) -> Refusal | None:
    """What is wrong with the Host headers of a request, or None."""
    if len(given) != 1:
        return Refusal(400, "a request names one host, once")
    found = HOST.fullmatch(given[0].decode("latin-1"))
    if found is None:
        return Refusal(400, "the header Host is not the name of a host")
    if found[1].strip("[]").lower().rstrip(".") not in ours:
        return Refusal(421, "this is not a name of the dashboard; web.names in the configuration lists them")
    return None


def way_fault(peer: str, proto: str | None, web: Web) -> Refusal | None:
    """What is wrong with the way a request took, where it must come by a reverse proxy that ends TLS, or None."""
    if not web.proxies:
        return None
    if not is_one_of(peer, web.proxies):
        return Refusal(403, "ask by the reverse proxy: nobody else is answered here")
    if proto is not None and proto.split(",")[-1].strip().lower() != "https":
        return Refusal(403, "ask by https; the reverse proxy was asked in the clear")
    return None


def is_one_of(peer: str, proxies: tuple[str, ...]) -> bool:
    """Whether an address is that of a proxy, which may be written as a name."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer in proxies
    return any(address == known for proxy in proxies for known in addresses(proxy))


def addresses(host: str) -> set[object]:
    """The addresses of a host, none where its name is not known."""
    try:
        return {ip_address(str(found[4][0]).partition("%")[0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


def client_behind(peer: str, forwarded: str, proxies: tuple[str, ...]) -> str:
    """Whom the nearest proxy says it asks for. What the client wrote stands farther left and is not believed."""
    for address in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
        if address not in proxies:
            return address[:64]
    return peer


class Hosts:
    """Refuses requests under foreign names or by another way, and puts the real client behind a proxy in its place."""

    def __init__(self, app: ASGIApp, web: Web) -> None:
        self.app, self.web, self.ours = app, web, our_names(web)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        peer = (scope.get("client") or ("", 0))[0]
        forwarded = {name: value.decode("latin-1") for name, value in headers if name.startswith(b"x-forwarded-")}
        fault = way_fault(peer, forwarded.get(b"x-forwarded-proto"), self.web)
        fault = fault or host_fault([value for name, value in headers if name == b"host"], self.ours)
        if fault is not None:
            return await refuse(send, fault.status, fault.sentence)
        if self.web.proxies:
            client = client_behind(peer, forwarded.get(b"x-forwarded-for", ""), self.web.proxies)
            scope = {**scope, "client": (client, 0), "scheme": "https"}
        return await self.app(scope, receive, send)
