"""What is well formed in a configuration and can still not be meant: routes that take nothing, results sent to us."""

import socket
from collections.abc import Iterator, Sequence

from rtseg_daemon.config.sections import DestinationPeer, Dicom, Match, Route

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
EVERY_ADDRESS = frozenset(("0.0.0.0", "::"))  # noqa: S104 - compared with, not listened on


def foreign_modalities(routes: Sequence[Route]) -> Iterator[tuple[int, str]]:
    """Yield (index, message) for each route of anything but CT: no series of it ever becomes a job."""
    for index, route in enumerate(routes):
        if route.match.modality not in (None, "CT"):
            yield index, f"only CT is contoured (found {route.match.modality!r}); write CT, or take the route out"


def hidden_routes(routes: Sequence[Route]) -> Iterator[tuple[int, str]]:
    """Yield (index, message) for each route whose every series is taken by one before it."""
    for index, route in enumerate(routes):
        before = next((one for one in routes[:index] if covers(one.match, route.match)), None)
        if before is not None:
            yield (
                index,
                (
                    f"is never reached: route {before.name!r} before it takes every series that matches; "
                    "put the narrower one first, or take one out"
                ),
            )


def covers(wide: Match, narrow: Match) -> bool:
    """Whether all that meets `narrow` meets `wide`, as far as can be told from equal conditions (only CT is routed)."""
    return all(
        getattr(wide, key) in (None, getattr(narrow, key)) for key in ("calling_ae", "body_part", "series_description")
    )


def own_addresses(destinations: Sequence[DestinationPeer], dicom: Dicom) -> Iterator[tuple[int, str]]:
    """Yield (index, message) for each destination that is our own listener, which takes no structure sets."""
    ours = {dicom.host} | (LOOPBACK if dicom.host in LOOPBACK | EVERY_ADDRESS else set())
    ours |= {socket.gethostname()} if dicom.host in EVERY_ADDRESS else set()
    for index, one in enumerate(destinations):
        if one.port in dicom.ports and one.host in ours:
            yield index, f"{one.host}:{one.port} is this daemon itself; write the planning system's address and port"
