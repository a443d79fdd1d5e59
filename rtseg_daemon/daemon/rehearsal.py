"""`config check --deep`: what the configuration names is tried out. Peers are asked, the storage is written to."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.assemble.routing import matches
from rtseg_daemon.cluster.ray_line import described as described_ray
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Route
from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.ct.series import list_series
from rtseg_daemon.dicom.association import Local, Peer, Waits
from rtseg_daemon.dicom.probe import asked
from rtseg_daemon.errors import DeliveryError, LedgerError, RtsegError, SeriesError, StorageError
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.loss import hindrance
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.server import doubts, facts_of, faults, in_words
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.storage import Layout, write_durably

WAITS = Waits(connect=5.0, associate=10.0, answer=10.0)
"""A person waits for the answer."""


@dataclass(frozen=True)
class CheckResult:
    """One thing that was tried, and what came of it."""

    subject: str
    ok: bool
    message: str


def rehearse(config: Config) -> Iterator[CheckResult]:
    """Try the storage, then every destination and query peer."""
    yield tried("storage", lambda: try_storage(config))
    if database_file(config.database_url) is None:
        yield tried("database", lambda: try_database(config))
    if config.compute.cluster is not None:
        yield tried("ray", lambda: described_ray(config.compute))
    local = Local(config.dicom.ae_title, config.dicom.tls)
    for kind, peers in (("destination", config.destinations), ("query", config.query)):
        for peer in peers:
            yield tried(f"{kind} {peer.name}", lambda peer=peer: ask(local, peer))  # type: ignore[misc]


def tried(subject: str, action: Callable[[], str]) -> CheckResult:
    """What `action` tells, or why it failed."""
    try:
        return CheckResult(subject, True, action())
    except (RtsegError, OSError) as error:
        return CheckResult(subject, False, str(error))


def ask(local: Local, peer: Peer) -> str:
    """C-ECHO. Raises DeliveryError for any other answer than success."""
    trouble = asked(local, peer, WAITS).trouble
    if trouble is not None:
        raise DeliveryError(f"{peer.host}:{peer.port}: {trouble.what}; {trouble.remedy}")
    return f"{peer.ae_title} at {peer.host}:{peer.port} answers"


def try_database(config: Config) -> str:
    """Ask the PostgreSQL server whether it can hold a ledger. Raises LedgerError naming every fault."""
    engine = open_ledger(config.database_url)
    try:
        facts = facts_of(engine)
    except SQLAlchemyError as error:
        raise LedgerError(f"{engine.url}: {hindrance(error)}; mend database.url, or the server") from error
    finally:
        engine.dispose()
    if found := [*faults(facts), *doubts(facts)]:
        raise LedgerError(f"{engine.url}: {'; '.join(found)}")
    return in_words(facts)


def try_storage(config: Config) -> str:
    """Write a file there as images are written, and look at the free space. Raises StorageError naming the fault."""
    folder = config.storage.directory
    if not folder.exists():
        raise StorageError(f"{folder} does not exist; make it, or let `serve` make it if its parent lets it")
    probe = folder / f"config-check-{os.getpid()}"
    try:
        write_durably(probe, b"written by config check")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror}); give it to this user") from error
    finally:
        probe.unlink(missing_ok=True)
    free, least = Layout(folder).free_gb(), config.storage.minimum_free_gb
    if free < least:
        raise StorageError(
            f"{folder} has {free:.1f} GB free, and below storage.minimum_free_gb ({least:g}) images are refused"
        )
    return f"{folder} can be written; {free:.1f} GB free"


def routes_of(config: Config, folder: Path) -> Iterator[CheckResult]:
    """For each CT series below `folder`, which route would take it."""
    found = list_series(folder)
    if not found:
        raise SeriesError(f"there is no CT series in {folder}")
    for uid, paths in found.items():
        header = read_header(paths[0])
        series = Series(
            modality=header.modality, body_part=header.body_part, description=header.description, calling_ae=""
        )
        words = route_words(config, series)
        yield CheckResult(f"series {uid}", bool(words), words or "no route takes it")


def route_words(config: Config, series: Series) -> str:
    """The route that takes the series. Who sends it is not in its files: a route that asks for that may come first."""
    words: list[str] = []
    for route in config.routes:
        if not matches(route.match.model_copy(update={"calling_ae": None}), series):
            continue
        if route.match.calling_ae is None:
            return "; else ".join([*words, described(route)])
        words.append(f"{described(route)} if {route.match.calling_ae} sends it")
    return "; else ".join([*words, "no route takes it"]) if words else ""


def described(route: Route) -> str:
    """A route, its bundles and its destinations."""
    return f"route {route.name} ({', '.join(route.jobs)} to {', '.join(route.destinations) or 'nobody'})"
