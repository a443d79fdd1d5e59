"""Tokens, by which programs ask. One is shown once, when it is made, and the ledger keeps its digest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.config.web import Role
from rtseg_daemon.errors import PeopleError
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.people import ApiToken
from rtseg_daemon.ledger.views import moment
from rtseg_daemon.web.people.secrets import digest_of, new_secret

PREFIX = "rtseg_"
"""So that a token is recognised where it was left lying about."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
USED_SECONDS = 3600.0
"""How exactly the last use of a token is remembered."""


@dataclass(frozen=True)
class Program:
    """A token that counts."""

    name: str
    role: Role
    used_at: float | None


def create_token(session: Session, name: str, role: Role, who: str, now: float) -> str:
    """A new token, told once. Raises PeopleError for a name that is taken, also by one that was revoked."""
    if not NAME.fullmatch(name):
        raise PeopleError("a token's name has 1 to 64 letters, digits, and . _ - inside")
    if session.get(ApiToken, name) is not None:
        raise PeopleError(f"there is or was a token {name!r}; choose another name, so that the audit trail is clear")
    token = PREFIX + new_secret()
    session.add(ApiToken(name=name, role=role.value, digest=digest_of(token), created_at=now, created_by=who))
    record_event(session, "token", None, "token created", detail={"token": name, "role": role.value}, who=who, at=now)
    return token


def revoke_token(session: Session, name: str, who: str, now: float) -> ApiToken:
    """From now on it counts no more. Raises PeopleError where there is none, or not any more."""
    token = session.get(ApiToken, name)
    if token is None or token.revoked_at is not None:
        raise PeopleError(f"there is no token {name!r} that counts; see `rtseg-daemon tokens list`")
    token.revoked_at = now
    record_event(session, "token", None, "token revoked", detail={"token": name}, who=who, at=now)
    return token


def find_program(session: Session, token: str) -> Program | None:
    """Whose token this is, or None where it is nobody's, or was revoked."""
    row = session.scalars(select(ApiToken).where(ApiToken.digest == digest_of(token))).one_or_none()
    return Program(row.name, Role(row.role), row.used_at) if row is not None and row.revoked_at is None else None


def note_use(session: Session, name: str, now: float) -> None:
    row = session.get(ApiToken, name)
    if row is not None:
        row.used_at = now


def tokens(session: Session) -> Sequence[ApiToken]:
    """All, by name, also those that were revoked."""
    return session.scalars(select(ApiToken).order_by(ApiToken.name)).all()


def token_shape(token: ApiToken) -> dict[str, Any]:
    """One token as `tokens list --json` shows it."""
    return {
        "name": token.name,
        "role": token.role,
        "created_at": moment(token.created_at),
        "created_by": token.created_by,
        "used_at": moment(token.used_at),
        "revoked_at": moment(token.revoked_at),
    }
