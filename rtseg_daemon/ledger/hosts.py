"""The hosts that share a ledger: who they are, when each was last seen, and which of them is to take no more jobs."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from rtseg_daemon.errors import LedgerError, StateError
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.leases import database_moment
from rtseg_daemon.ledger.schema import IncomingAssociation, Instance, Job
from rtseg_daemon.ledger.wake import JOBS, tell

SHARED = "shared storage"
"""The address of a host whose files lie where all hosts have them."""
SILENT_SECONDS = 60.0
"""A host that was not seen for so long is taken for away."""


def register(session: Session, name: str, *, storage: str, version: str, address: str = "") -> Host:
    """A host starts. `address` is where others get its files, SHARED where they have the same storage.

    Raises LedgerError where another storage directory works under its name, or another host could not get its files.
    """
    now = database_moment(session)
    known = session.get(Host, name)
    if known is not None and known.storage != storage:
        seen = f"seen {max(0.0, now - known.seen_at):.0f} s ago"
        raise LedgerError(
            f"host {name} works on another storage directory ({seen}): give this one a name of its own in "
            "database.host_name, or, if its disk was replaced for good, first `rtseg-daemon drain "
            f"{name} --forget`"
        )
    others = [one for one in hosts(session) if one.name != name]
    living = [one for one in others if now - one.seen_at < SILENT_SECONDS]
    alone = next((one for one in living if is_apart(one, storage, address)), None)
    if alone is not None:
        raise LedgerError(
            f"host {alone.name} works on this ledger, seen {max(0.0, now - alone.seen_at):.0f} s ago, and hosts that "
            "share one give each other files: set cluster.tls on both (storage.shared where they have one directory), "
            "stop that one, or name another database in database.url"
        )
    if address and not others:
        adopt(session, name, images=known is None or not known.address)
    draining = known is not None and known.draining
    host = Host(
        name=name,
        storage=storage,
        version=version,
        address=address,
        draining=draining,
        started_at=now,
        seen_at=now,
    )
    return session.merge(host)


def is_apart(other: Host, storage: str, address: str) -> bool:
    """Whether a host and one with this storage and address could not get each other's files."""
    sent = other.address and address and SHARED not in (other.address, address)
    return other.storage != storage and not sent


def adopt(session: Session, name: str, *, images: bool) -> None:
    """Whatever came before hosts had names is this host's, which was the only one.

    Of `images` there may be millions, and once is enough. Returned sets have hosts for a shorter time.
    """
    for table in (ReturnedSet, *((Instance, Job, IncomingAssociation) if images else ())):
        session.execute(update(table).where(table.host == "").values(host=name))


def show(session: Session, name: str) -> bool:
    """A host says that it is there. Returns whether it is to take no further job."""
    host = session.get(Host, name)
    if host is None:  # somebody forgot it while it ran: it goes on, and is known again when it starts anew
        return False
    host.seen_at = database_moment(session)
    return host.draining


def leave(session: Session, name: str) -> None:
    """A host ends in order. It is away at once."""
    if host := session.get(Host, name):
        host.seen_at = 0.0


def is_draining(session: Session, name: str) -> bool:
    """Whether a host is to take no further job."""
    return bool(session.scalar(select(Host.draining).where(Host.name == name)))


def is_silent(session: Session, name: str) -> bool:
    """Whether a host is out of the ledger, or was not seen for SILENT_SECONDS."""
    host = session.get(Host, name, populate_existing=True)
    return host is None or database_moment(session) - host.seen_at >= SILENT_SECONDS


def address_of(session: Session, name: str) -> str:
    """Where a host's files can be had. Raises StateError for a host that nobody knows or that serves none."""
    host = find(session, name)
    if not host.address:
        raise StateError(f"host {name} serves no files to others; set cluster.tls there, and restart it")
    return host.address


def find(session: Session, name: str) -> Host:
    """The host of this name. Raises StateError naming those that are known."""
    host = session.get(Host, name)
    if host is None:
        known = ", ".join(one.name for one in hosts(session)) or "none"
        raise StateError(f"there is no host {name!r} (known: {known})")
    return host


def hosts(session: Session) -> Sequence[Host]:
    """All hosts that ever started, by name."""
    return session.scalars(select(Host).order_by(Host.name)).all()


def set_draining(session: Session, name: str, draining: bool, *, who: str, why: str) -> Host:
    """Let a host take no further job, or jobs again. What it is at goes on. Raises StateError for an unknown one."""
    host = find(session, name)
    if host.draining != draining:
        host.draining = draining
        what = "host drained" if draining else "host takes jobs again"
        record_event(session, "daemon", None, what, detail={"host": name, "why": why}, who=who)
        if not draining:
            tell(session, JOBS)
    return host


def forget(session: Session, name: str, *, who: str, why: str) -> None:
    """Take a host out of the ledger for good. Raises StateError for one that was seen a moment ago."""
    host = find(session, name)
    silent = database_moment(session) - host.seen_at
    if silent < SILENT_SECONDS:
        raise StateError(f"host {name} was seen {max(0.0, silent):.0f} s ago; stop its daemon first")
    session.delete(host)
    record_event(session, "daemon", None, "host forgotten", detail={"host": name, "why": why}, who=who)
