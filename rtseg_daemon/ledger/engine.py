"""Opening the ledger, and the two ways to use it: reading and writing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.errors import ConfigError

BUSY_TIMEOUT_MS = 30_000


def open_ledger(url: str) -> Engine:
    """Engine for `url`. On SQLite every connection has WAL, synchronous=FULL, a busy time-out and foreign keys.

    Each process opens its own; no session may cross a thread. Opening does not create or migrate anything
    (`ledger.migrate.upgrade` does). Raises ConfigError for a URL that is none.
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
    return engine


def database_file(url: str) -> Path | None:
    """The file behind an SQLite URL; None for another database."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


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
