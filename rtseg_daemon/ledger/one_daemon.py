"""One daemon works on a ledger at a time: the others would look for images that lie on its host.

An SQLite file is guarded by the lock of its storage. In a PostgreSQL database the daemon leaves its name, and renews it
as long as it lives. Times are the database's.
"""

import json

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.leases import database_time
from rtseg_daemon.ledger.schema import Setting

KEY = "daemon"
HEARD_SECONDS = 60.0
"""A daemon that was not heard of for so long is gone."""


def take(session: Session, host: str, storage: str, *, at: float | None = None) -> None:
    """Say that the daemon of this host and storage works on the ledger. Called at the start, and again and again.

    Raises LedgerError while another one does.
    """
    now = session.scalar(select(database_time(session, at))) or 0.0
    setting = session.get(Setting, KEY)
    other = json.loads(setting.value) if setting else None
    if other and (other["host"], other["storage"]) != (host, storage) and now - other["at"] < HEARD_SECONDS:
        raise LedgerError(
            f"the daemon of host {other['host']} ({other['storage']}) works on this ledger, heard of "
            f"{max(0.0, now - other['at']):.0f} s ago; stop that one, or name another database in database.url"
        )
    session.merge(Setting(key=KEY, value=json.dumps({"host": host, "storage": storage, "at": now})))


def leave(session: Session) -> None:
    """The daemon ends in order: another one may start at once."""
    if setting := session.get(Setting, KEY):
        session.delete(setting)
