"""What is well formed in a configuration and can still not be meant: routes that take nothing, results sent to us."""

import socket
from collections.abc import Iterator, Sequence

from rtseg_daemon.config.sections import Compute, DestinationPeer, Dicom, Match, Route, SeriesSection, Storage

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
SHORTEST_KEPT_HOURS = 1.0
"""Retention looks once an hour."""
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


def too_short_kept(storage: Storage, series: SeriesSection) -> Iterator[str]:
    """Yield a message where images would go before their series is decided about."""
    hours = max(SHORTEST_KEPT_HOURS, *(minutes / 60.0 for minutes in waits_minutes(series)))
    if storage.keep_days * 24.0 < hours:
        yield (
            f"images must be kept for {hours / 24.0:.3g} days at least: for an hour, and as long as a series is waited "
            f"for (found {storage.keep_days:g})"
        )


def waits_minutes(series: SeriesSection) -> tuple[float, ...]:
    """How long what of a series is waited for."""
    return series.quiet_seconds / 60.0, series.gap_wait_seconds / 60.0, series.abandon_minutes, series.late_minutes


def unusable_cluster(compute: Compute, gives_files: bool, ledger: str | None) -> Iterator[tuple[str, str]]:
    """Yield (key, message) where cards in Ray could do nothing: they reach ledger and files over the network alone.

    Args:
        gives_files: whether other hosts get at files (`cluster.tls`, `storage.shared`).
        ledger: `database.url`.
    """
    if compute.cluster is None:
        if compute.cluster_token is not None:
            yield "cluster_token", "is the token of a Ray cluster; name it in compute.cluster, or take the token out"
        return
    if ledger is None or not ledger.startswith("postgresql"):
        yield "cluster", "cards in Ray need a ledger that they reach; name its PostgreSQL in database.url"
    if not gives_files:
        yield (
            "cluster",
            "cards in Ray fetch images from this host, and bring results to it; set cluster.tls (or storage.shared)",
        )
