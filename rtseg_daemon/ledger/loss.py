"""What an error of the ledger means: try again, or stop because it is lost and only a person can mend that."""

import sqlite3

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from rtseg_daemon.errors import LedgerError

CORRUPT = frozenset(("XX001", "XX002"))
"""PostgreSQL's codes for pages or indices that are damaged (SQLSTATE)."""
MISSING = frozenset(("42P01",))
"""For a table that is not there."""
WITH_VALUES = ("22",)
"""Classes of its codes whose messages repeat what was to be written."""
UNREACHABLE = frozenset(("57P01", "57P02", "57P03", "08000", "08003", "08006", "25P03", "25006", "53300"))
"""The server stops, starts, has ended the connection, has none free, or has become a standby."""
SITE_RESTORE = 'stop the daemon and restore the database from the site\'s backup (docs/cluster.md, "Backups")'
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
    if cause is not None and sqlstate(cause) in CORRUPT | MISSING:
        what = "damaged" if sqlstate(cause) in CORRUPT else "gone"
        return f"the ledger is {what} ({in_words(cause)}); {SITE_RESTORE}"
    return loss(error.__cause__) if error.__cause__ is not None else None


def hindrance(error: BaseException) -> str:
    """Why the ledger cannot be used now, in one line and without the values of a statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if cause is None or isinstance(cause, (sqlite3.Error, LedgerError)):
        return str(cause)
    return in_words(cause) if is_of_postgresql(cause) else type(error).__name__


def is_lost_connection(error: BaseException) -> bool:
    """Whether the database server ended the connection, or cannot be reached: the next try gets another one.

    What was to be committed then may have been, or not.
    """
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    if not is_of_postgresql(error.orig):
        return False
    nothing_answered = isinstance(error, OperationalError) and not sqlstate(error.orig)
    return error.connection_invalidated or nothing_answered or sqlstate(error.orig) in UNREACHABLE


def may_pass(error: BaseException) -> bool:
    """Whether the ledger cannot be used now and may be again without a person: its server or mount is away, its disk is
    full, or others write for long. What was to be done is then put off, and not given up."""
    of_the_moment = isinstance(error, (OperationalError, LedgerUnreachable)) or is_lost_connection(error)
    return of_the_moment and loss(error) is None


def is_of_postgresql(error: BaseException) -> bool:
    """Whether psycopg raised it. One machine with SQLite does not have psycopg."""
    return type(error).__module__.partition(".")[0] == "psycopg"


def sqlstate(error: BaseException | None) -> str:
    """PostgreSQL's code of an error, empty where it has none: of another database, or no server answered."""
    return str(getattr(error, "sqlstate", None) or "")


def in_words(error: BaseException) -> str:
    """What psycopg says, in one line. Where the server's message may hold values, the kind of error alone."""
    if sqlstate(error).startswith(WITH_VALUES):
        return type(error).__name__
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    return " ".join(str(message).split())
