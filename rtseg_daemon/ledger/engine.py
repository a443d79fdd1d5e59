"""Opening the ledger, and the two ways to use it: reading and writing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.loss import LedgerGone, LedgerUnreachable

BUSY_TIMEOUT_MS = 30_000


def open_ledger(url: str | URL, *, existing: bool = False) -> Engine:
    """Engine for `url`. On SQLite every connection has WAL, synchronous=FULL, a busy time-out and foreign keys.

    Each process opens its own. No session may cross a thread. Opening does not create or migrate anything
    (`ledger.migrate.upgrade` does). Raises ConfigError for a URL that is none. Whoever later connects or commits gets
    LedgerGone if the file is not the one that was opened first. With `existing` the first must find
    a file, since SQLite would make an empty one.
    """
    try:
        engine = create_engine(url)
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigError(
            f"database.url is no database that can be opened ({error}); write it as SQLAlchemy does, or leave it out"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin)
        file = database_file(engine.url)
        if file is not None:
            opened = Opened(file, existing)
            event.listen(engine, "do_connect", opened.before_connecting)
            event.listen(engine, "connect", opened.connected)
            event.listen(engine, "commit", opened.before_commit)
    return engine


def database_file(url: str | URL) -> Path | None:
    """The file behind an SQLite URL, or None for another database."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


@dataclass
class Opened:
    """The database file that an engine opened first.

    A file that was deleted or replaced stays readable and writable for those who have it open. What is committed to it
    then is lost when they close it, so nothing may be committed, and no new empty file may take its place.
    """

    file: Path
    existing: bool = False
    identity: tuple[int, int] | None = None

    def before_connecting(self, *_arguments: Any) -> None:
        if self.identity is not None or (self.existing and self.found() is None):
            self.check()

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


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A session whose transaction commits at the end of the block and is rolled back by an exception."""
    with Session(engine.execution_options(write=True), expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that sees one snapshot and changes nothing."""
    with Session(engine, expire_on_commit=False, autoflush=False) as session:
        yield session


def can_be_read(engine: Engine) -> None:
    """Look into the ledger. Raises SQLAlchemyError where that is not possible, and waits as long as its disk does."""
    with reading(engine) as session:
        session.execute(text("SELECT count(*) FROM setting"))
