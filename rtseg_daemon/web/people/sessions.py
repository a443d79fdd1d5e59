"""Sessions of browsers. The ledger keeps them, and the cookie holds a random secret that stands for one."""

import hmac
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, or_
from sqlalchemy.orm import Session

from rtseg_daemon.config.web import Role, Web
from rtseg_daemon.ledger.people import Account, WebSession
from rtseg_daemon.web.people.secrets import digest_of, new_secret

TOUCH_SECONDS = 60.0
"""How exactly the last use of a session is remembered."""


@dataclass(frozen=True)
class Known:
    """A session that counts at this moment. `csrf` must come back with every form."""

    digest: str
    name: str
    role: Role
    csrf: str
    seen_at: float
    kept: dict[str, Any] = field(default_factory=dict)


def cookie_name(web: Web) -> str:
    """Over TLS no other host of the same domain can set or read `__Host-` cookies."""
    return "__Host-rtseg" if web.secure else "rtseg"


def begin(session: Session, name: str, role: Role | None, now: float, kept: dict[str, Any] | None = None) -> str:
    """A new session. Returns the cookie's secret. `role` is None for a local account."""
    secret = new_secret()
    row = WebSession(
        digest=digest_of(secret),
        name=name,
        role=role.value if role else None,
        csrf=new_secret(),
        started_at=now,
        seen_at=now,
        kept=kept or {},
    )
    session.add(row)
    return secret


def counts(row: WebSession, web: Web, now: float) -> bool:
    """Whether a session is neither idle nor old. One from a clock that was set back does not count."""
    idle, age = now - row.seen_at, now - row.started_at
    return -TOUCH_SECONDS <= age < web.session_hours * 3600.0 and idle < web.idle_minutes * 60.0


def find(session: Session, secret: str, web: Web, now: float) -> Known | None:
    """The session behind a cookie, or None where it has ended or its account is gone."""
    row = session.get(WebSession, digest_of(secret))
    if row is None or not counts(row, web, now):
        return None
    role = row.role
    if role is None:
        account = session.get(Account, row.name)
        role = account.role if account is not None else None
    if role is None:
        return None
    return Known(row.digest, row.name, Role(role), row.csrf, row.seen_at, row.kept)


def touch(session: Session, known: Known, now: float) -> None:
    """Remember that the session was used."""
    row = session.get(WebSession, known.digest)
    if row is not None:
        row.seen_at = now


def end(session: Session, digest: str) -> None:
    """Log out."""
    session.execute(delete(WebSession).where(WebSession.digest == digest))


def end_all_of(session: Session, name: str) -> None:
    """Log a person out everywhere."""
    session.execute(delete(WebSession).where(WebSession.name == name))


def forget_ended(session: Session, web: Web, now: float) -> None:
    """Delete the rows of sessions that have ended."""
    old = WebSession.started_at < now - web.session_hours * 3600.0
    idle = WebSession.seen_at < now - web.idle_minutes * 60.0
    session.execute(delete(WebSession).where(or_(old, idle)))


def is_csrf(known: Known, given: str) -> bool:
    """Whether a form came from one of our own pages in this session."""
    return hmac.compare_digest(known.csrf.encode(), given.encode("utf-8", "surrogateescape"))
