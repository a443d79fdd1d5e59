"""A ledger in an SQLite file: how its connections are set up, and that the file is still the one that was opened."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, event, make_url

from rtseg_daemon.ledger.loss import LedgerGone, LedgerUnreachable

BUSY_TIMEOUT_MS = 30_000


def database_file(url: str | URL) -> Path | None:
    """The file behind an SQLite URL, or None for another database."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def prepare(engine: Engine, *, existing: bool) -> None:
    """Let every connection have WAL, synchronous=FULL, a busy time-out and foreign keys, and watch over the file.

    Whoever connects or commits gets LedgerGone if the file is not the one that was opened first. With `existing` the
    first must find a file, since SQLite would make an empty one.
    """
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    file = database_file(engine.url)
    if file is not None:
        opened = Opened(file, existing)
        event.listen(engine, "do_connect", opened.connecting)
        event.listen(engine, "connect", opened.connected)
        event.listen(engine, "commit", opened.before_commit)


def be_impatient(engine: Engine, seconds: int) -> None:
    """Let every connection wait at most so long for the write lock."""

    def set_up(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute(f"PRAGMA busy_timeout={1000 * seconds}")

    event.listen(engine, "connect", set_up)


@dataclass
class Opened:
    """The database file that an engine opened first.

    A file that was deleted or replaced stays readable and writable for those who have it open. What is committed to it
    then is lost when they close it, so nothing may be committed, and no new empty file may take its place.
    """

    file: Path
    existing: bool = False
    identity: tuple[int, int] | None = None

    def connecting(self, dialect: Dialect, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        """A connection that makes no file where one must be, though it may be deleted just before SQLite opens it."""
        must_be_there = self.identity is not None or self.existing
        if not must_be_there:
            return None  # SQLAlchemy connects, and SQLite may make the file
        if self.identity is not None or self.found() is None:
            self.check()
        try:
            return dialect.connect(f"{self.file.absolute().as_uri()}?mode=rw", *arguments[1:], uri=True, **options)
        except sqlite3.OperationalError:
            if self.found() is None:
                self.check()
            raise

    def connected(self, _connection: sqlite3.Connection, _record: Any) -> None:
        if self.identity is None:
            self.identity = self.found()

    def before_commit(self, _connection: Connection) -> None:
        self.check()

    def check(self) -> None:
        """Raise LedgerGone unless the file at its place is the one that was opened."""
        found = self.found()
        if found is None or found != self.identity:
            what = "is gone" if found is None else "was replaced by another file"
            raise LedgerGone(f"the ledger {self.file} {what} while the daemon was using it")

    def found(self) -> tuple[int, int] | None:
        """Device and inode of the file at its place, or None where there is none."""
        try:
            status = self.file.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerUnreachable(f"the ledger {self.file} cannot be reached ({error.strerror})") from error
        return status.st_dev, status.st_ino


def _set_pragmas(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin` alone
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_TIMEOUT_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """A write transaction takes the write lock at once: a deferred one that reads first fails when another wrote."""
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
