"""The one-time link by which the first admin is made, while there is no account at all.

The supervisor prints it on standard output at its start, not in the log, so that no collector of logs, web hook or mail
carries it. It works on this machine alone, for an hour, and until there is an account. A new start makes a new one.
"""

import json
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.web import Role, Web
from rtseg_daemon.ledger.people import Account
from rtseg_daemon.ledger.schema import Setting
from rtseg_daemon.web.people.accounts import add_account
from rtseg_daemon.web.people.secrets import digest_of, new_secret

KEY = "first_link"
LASTS_SECONDS = 3600.0


def account_count(session: Session) -> int:
    """How many local accounts there are."""
    return session.scalar(select(func.count()).select_from(Account)) or 0


def new_link(session: Session, web: Web, now: float) -> str | None:
    """The address of the page that makes the first admin, or None where there is somebody who can log in."""
    if not web.enabled or web.exposed or web.oidc or web.ldap or account_count(session):
        return None
    secret = new_secret()
    value = json.dumps({"digest": digest_of(secret), "until": now + LASTS_SECONDS})
    session.merge(Setting(key=KEY, value=value))
    host = f"[{web.host}]" if ":" in web.host else web.host
    return f"{'https' if web.secure else 'http'}://{host}:{web.port}/first/{secret}"


def invitation(link: str, now: float) -> str:
    """What is printed."""
    until = datetime.fromtimestamp(now + LASTS_SECONDS).astimezone()
    return f"No account yet. Make the first admin of the dashboard, until {until:%H:%M %Z}:\n  {link}\n"


def is_link(session: Session, secret: str, now: float) -> bool:
    """Whether this is the secret of a link that still works."""
    setting = session.get(Setting, KEY)
    if setting is None or account_count(session):
        return False
    found = json.loads(setting.value)
    return bool(found["digest"] == digest_of(secret)) and now < found["until"]


def forget_link(session: Session) -> None:
    """It works no more."""
    setting = session.get(Setting, KEY)
    if setting is not None:
        session.delete(setting)


def make_first_admin(session: Session, name: str, password: str, now: float) -> Account:
    """The first account, made by who has the link. In one transaction with `is_link`, so that there is only one."""
    account = add_account(session, name, Role.ADMIN, password, "the one-time link", now)
    forget_link(session)
    return account
