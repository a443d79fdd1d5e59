"""The ledger's tables of people and programs: accounts, sessions, tokens, failed logins. Secrets stand as digests."""

from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from rtseg_daemon.ledger.schema import Base


class Account(Base):
    """A person with a password here. `password_hash` is argon2's, with its salt and parameters."""

    __tablename__ = "account"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    password_hash: Mapped[str]
    created_at: Mapped[float]
    changed_at: Mapped[float]


class WebSession(Base):
    """One browser that is logged in. `role` is None for a local account, whose own role counts at each request."""

    __tablename__ = "web_session"

    digest: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the secret in the cookie."""
    name: Mapped[str] = mapped_column(index=True)
    role: Mapped[str | None]
    csrf: Mapped[str]
    started_at: Mapped[float]
    seen_at: Mapped[float]
    kept: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """A form that was sent when the session before it had ended: {page, fields}."""


class ApiToken(Base):
    """One program that may ask. `digest` is the SHA-256 of its token."""

    __tablename__ = "api_token"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float]
    created_by: Mapped[str]
    used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class LoginFailure(Base):
    """Failures in a row of one name or one address. `key` is a digest: what was typed may have been a password."""

    __tablename__ = "login_failure"

    key: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    last_at: Mapped[float] = mapped_column(index=True)
