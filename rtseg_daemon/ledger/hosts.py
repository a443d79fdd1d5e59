"""The hosts that share a ledger: who they are, when each was last seen, and which of them is to take no more jobs."""

from collections.abc import Sequence
from math import inf

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.errors import LedgerError, StateError
from rtseg_daemon.ledger.adoption import Holds, hand_over, has_images_of, inherit, mark_of
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.leases import database_moment
from rtseg_daemon.ledger.wake import JOBS, tell

SHARED = "shared storage"
"""The address of a host whose files lie where all hosts have them."""
SILENT_SECONDS = 60.0
"""A host that was not seen for so long is taken for away."""


def register(
    session: Session, name: str, *, storage: str, version: str, address: str = "", holds: Holds = lambda _path: True
) -> Host:
    """A host starts. `address` is where others get its files, SHARED where they have the same storage.

    What is its own in the ledger is made so: of a host that had this storage under another name, and of the time when
    it worked alone and had no name. Raises LedgerError where another storage directory works under its name, another
    host has the same one, or could not get its files.
    """
    now = database_moment(session)
    known = session.get(Host, name)
    if known is not None and known.storage != storage:
        raise LedgerError(
            f"host {name} works on another storage directory ({seen_ago(known, now)}): give this one a name of its own "
            "in database.host_name, or, if its disk was replaced for good, first `rtseg-daemon drain "
            f"{name} --forget`"
        )
    others = [one for one in hosts(session) if one.name != name]
    twins = [one for one in others if one.storage == storage and not one.address == address == SHARED]
    living = [one for one in others if now - one.seen_at < SILENT_SECONDS]
    refuse_twins(session, twins, holds, now)
    alone = next((one for one in living if is_apart(one, storage, address)), None)
    if alone is not None:
        raise LedgerError(
            f"host {alone.name} works on this ledger, {seen_ago(alone, now)}, and hosts that "
            "share one give each other files: set cluster.tls on both (storage.shared where they have one directory), "
            "stop that one, or name another database in database.url"
        )
    draining = any(one.draining for one in (known, *twins) if one is not None)
    for one in twins:
        inherit(session, one, name, address)
    before = mark_of(name, known.address if known is not None else "")
    if before != mark_of(name, address) and has_images_of(session, before, holds):
        hand_over(session, before, mark_of(name, address))
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


def refuse_twins(session: Session, twins: Sequence[Host], holds: Holds, now: float) -> None:
    """Raise LedgerError where the storage is known by another name and this is not that host, renamed.

    A copied directory has the number of the first one, and lacks what that one received since.
    """
    for one in twins:
        copied = "if this directory is a copy of that one's, remove the file storage-id from the copy"
        if now - one.seen_at < SILENT_SECONDS:
            raise LedgerError(
                f"host {one.name} has this storage directory too ({seen_ago(one, now)}): {copied}; if both have one "
                f"directory, set storage.shared on both; if this host was called {one.name} before, start it again in "
                "a minute"
            )
        if not has_images_of(session, mark_of(one.name, one.address), holds):
            raise LedgerError(
                f"host {one.name} had this storage directory, and its newest image is not here: {copied}; if that host "
                f"is gone for good, first `rtseg-daemon drain {one.name} --forget`"
            )


def seen_ago(host: Host, now: float) -> str:
    """When a host was last seen, for a message."""
    return f"seen {max(0.0, now - host.seen_at):.0f} s ago" if host.seen_at else "stopped"


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


def gone_since(session: Session, name: str) -> float | None:
    """The moment at which a host was away for certain, None for one that is there, or where there is one alone.

    Endless where nobody knows it: of a host that was forgotten, or that ended in order.
    """
    if not name or not is_silent(session, name):
        return None
    host = session.get(Host, name)
    return host.seen_at + SILENT_SECONDS if host is not None and host.seen_at else inf


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
    """Take a host out of the ledger for good. Raises StateError for one that was seen a moment ago.

    Of hosts that share their storage another one has its files from now on.
    """
    host = find(session, name)
    silent = database_moment(session) - host.seen_at
    if silent < SILENT_SECONDS:
        raise StateError(f"host {name} was seen {max(0.0, silent):.0f} s ago; stop its daemon first")
    sharing = [one for one in hosts(session) if one.name != name and one.storage == host.storage]
    if host.address == SHARED and sharing:
        heir = max(sharing, key=lambda one: one.seen_at)
        hand_over(session, name, mark_of(heir.name, heir.address))
    session.delete(host)
    record_event(session, "daemon", None, "host forgotten", detail={"host": name, "why": why}, who=who)
