"""One try to log in with name and password, and what came of it. Both ways, ours and a directory, go through here."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.people import Account
from rtseg_daemon.web.people import lockout, sessions
from rtseg_daemon.web.people.accounts import name_of
from rtseg_daemon.web.people.directory import look_up
from rtseg_daemon.web.people.passwords import matches
from rtseg_daemon.web.place import Place

UNKNOWN = "somebody unknown"
"""In events: what was typed may have been a password."""


@dataclass(frozen=True)
class Found:
    """Somebody who proved who he is. `role` is None for a local account."""

    name: str
    role: Role | None = None


@dataclass(frozen=True)
class Entered:
    """What came of a try: the session's secret, or seconds to wait, or neither."""

    secret: str = ""
    wait_seconds: float = 0.0


def enter(place: Place, typed: str, password: str, address: str, kept: dict[str, Any]) -> Entered:
    """Log in by name and password. A try that comes too early is not looked at, so that it tells nothing."""
    name, now = name_of(typed), place.now()
    with reading(place.engine) as session:
        wait = lockout.seconds_to_wait(session, name, address, now)
        account = session.get(Account, name)
        kept_hash = account.password_hash if account is not None else None
    if wait > 0:
        return Entered(wait_seconds=wait)
    found = proven(place, name, kept_hash, password)
    if found is not None:
        with writing(place.engine) as session:
            lockout.forgive(session, name)
        return Entered(start(place, found, "password", address, kept))
    with writing(place.engine) as session:
        lockout.note_failure(session, name, address, now)
        known = name if account is not None else UNKNOWN
        note_login(session, "login failed", known, "password", address, now)
    return Entered()


def proven(place: Place, name: str, kept_hash: str | None, password: str) -> Found | None:
    """Who has this name and password. A name with an account here is never asked for in the directory."""
    if matches(kept_hash, password):
        return Found(name)
    ldap = place.config.web.ldap
    if kept_hash is not None or ldap is None:
        return None
    known = look_up(ldap, name, password)
    return Found(*known) if known is not None else None


def start(place: Place, found: Found, way: str, address: str, kept: dict[str, Any]) -> str:
    """Begin a session. Returns the cookie's secret."""
    now = place.now()
    with writing(place.engine) as session:
        sessions.forget_ended(session, place.config.web, now)
        note_login(session, "logged in", found.name, way, address, now)
        return sessions.begin(session, found.name, found.role, now, kept)


def leave(place: Place, known: sessions.Known, address: str) -> None:
    """Log out."""
    with writing(place.engine) as session:
        sessions.end(session, known.digest)
        note_login(session, "logged out", known.name, "", address, place.now())


def note_login(session: Session, what: str, name: str, way: str, address: str, now: float) -> None:
    record_event(session, "login", None, what, detail={"way": way, "address": address}, who=name, at=now)
