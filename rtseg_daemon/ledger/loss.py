"""What an error of the ledger means: try again, or stop because it is lost and only a person can mend that."""

import sqlite3

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from rtseg_daemon.errors import LedgerError

DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
RESTORE = (
    'stop the daemon and restore a backup: `rtseg-daemon restore FILE` (docs/operation.md, "Restoring the ledger")'
)


class LedgerGone(LedgerError, SQLAlchemyError):
    """The ledger's file was deleted or replaced under the daemon. Nothing is acknowledged any more.

    It is an SQLAlchemyError too, so that whoever copes with a ledger that cannot be written copes with this.
    """


class LedgerUnreachable(LedgerError, SQLAlchemyError):
    """The ledger's file cannot be looked at now (a network mount that is away). Nothing is acknowledged meanwhile."""


class LedgerLost(LedgerError):
    """The ledger is gone or damaged and the daemon has ended. The message says what to do."""


class LedgerDamaged(LedgerError, SQLAlchemyError):
    """SQLite's own check found the ledger's file damaged."""


def quick_check(engine: Engine) -> None:
    """Raise LedgerDamaged where SQLite finds pages or rows of the file damaged. Indices are not compared."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if verdict != "ok":
            raise LedgerDamaged(f"the ledger is damaged ({verdict})")


def loss(error: BaseException) -> str | None:
    """Why the ledger is lost, if this error says that it is, or None where trying again may help."""
    if isinstance(error, (LedgerGone, LedgerDamaged)):
        return f"{error}; {RESTORE}"
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.DatabaseError) and (getattr(cause, "sqlite_errorcode", 0) & 0xFF) in DAMAGED:
        return f"the ledger is damaged ({cause}); {RESTORE}"
    return loss(error.__cause__) if error.__cause__ is not None else None


def hindrance(error: BaseException) -> str:
    """Why the ledger cannot be used now, in one line and without the values of a statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause) if isinstance(cause, (sqlite3.Error, LedgerError)) else type(error).__name__
