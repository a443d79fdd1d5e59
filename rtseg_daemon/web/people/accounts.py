"""Local accounts. Every change of one stands in the ledger's events with who made it."""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.web import Role
from rtseg_daemon.errors import PeopleError
from rtseg_daemon.ledger.events import is_own, record_event
from rtseg_daemon.ledger.people import Account
from rtseg_daemon.ledger.views import moment
from rtseg_daemon.web.people.passwords import check_password, hash_of
from rtseg_daemon.web.people.sessions import end_all_of

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


def name_of(typed: str) -> str:
    """The account's name for what was typed: small letters, no blanks around it."""
    return typed.strip().lower()


def check_name(typed: str) -> str:
    """The name that an account would have. Raises PeopleError for one that none can have."""
    name = name_of(typed)
    if not NAME.fullmatch(name) or is_own(name):
        raise PeopleError("an account's name has 1 to 64 letters, digits, and . _ @ - inside, and is not the daemon's")
    return name


def add_account(session: Session, typed: str, role: Role, password: str, who: str, now: float) -> Account:
    """A new account. Raises PeopleError for a name that is taken or a password that is not good enough."""
    name = check_name(typed)
    check_password(name, password)
    if session.get(Account, name) is not None:
        raise PeopleError(f"there is an account {name!r} already; see `rtseg-daemon users list`")
    account = Account(name=name, role=role.value, password_hash=hash_of(password), created_at=now, changed_at=now)
    session.add(account)
    note(session, "account added", name, role, who, now)
    return account


def find_account(session: Session, typed: str) -> Account:
    """Raises PeopleError if there is none."""
    account = session.get(Account, name_of(typed))
    if account is None:
        raise PeopleError(f"there is no account {name_of(typed)!r}; see `rtseg-daemon users list`")
    return account


def set_password(session: Session, typed: str, password: str, who: str, now: float) -> Account:
    """Another password. Whoever is logged in by the old one is logged out."""
    account = find_account(session, typed)
    check_password(account.name, password)
    account.password_hash, account.changed_at = hash_of(password), now
    end_all_of(session, account.name)
    note(session, "password changed", account.name, Role(account.role), who, now)
    return account


def set_role(session: Session, typed: str, role: Role, who: str, now: float) -> Account:
    """Another role, from the next request on. Raises PeopleError where no admin would be left."""
    account = find_account(session, typed)
    if role is not Role.ADMIN:
        keep_one_admin(session, account)
    account.role, account.changed_at = role.value, now
    note(session, "role changed", account.name, role, who, now)
    return account


def remove_account(session: Session, typed: str, who: str, now: float) -> Account:
    """The account and its sessions go. Raises PeopleError where no admin would be left."""
    account = find_account(session, typed)
    keep_one_admin(session, account)
    session.delete(account)
    end_all_of(session, account.name)
    note(session, "account removed", account.name, Role(account.role), who, now)
    return account


def keep_one_admin(session: Session, account: Account) -> None:
    """Raise PeopleError if this is the last account with role admin."""
    others = select(func.count()).where(Account.role == Role.ADMIN, Account.name != account.name)
    if account.role == Role.ADMIN and not session.scalar(others):
        raise PeopleError(f"{account.name!r} is the last admin; make another one first")


def accounts(session: Session) -> Sequence[Account]:
    """All of them, by name."""
    return session.scalars(select(Account).order_by(Account.name)).all()


def account_shape(account: Account) -> dict[str, Any]:
    """One account as `users list --json` shows it."""
    return {
        "name": account.name,
        "role": account.role,
        "created_at": moment(account.created_at),
        "changed_at": moment(account.changed_at),
    }


def note(session: Session, what: str, name: str, role: Role, who: str, now: float) -> None:
    record_event(session, "account", None, what, detail={"account": name, "role": role.value}, who=who, at=now)
