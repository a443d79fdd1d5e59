"""The ledger of a stopped daemon moves from its SQLite file into an empty PostgreSQL database."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from sqlalchemy import URL, Engine, inspect

from rtseg_daemon.errors import ConfigError, LedgerError
from rtseg_daemon.ledger import postgresql
from rtseg_daemon.ledger.copying import Progress, copy_all
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import alembic_config, require_own
from rtseg_daemon.ledger.server import require_fit
from rtseg_daemon.storage import Layout, sync_folder
from rtseg_daemon.upkeep.backup import stamp
from rtseg_daemon.upkeep.restore import PARTS, locked, own


@dataclass(frozen=True)
class Moved:
    """What was done: the database without its password, rows of each table, and where the file is now."""

    database: str
    rows: dict[str, int]
    set_aside: Path


def move(file: Path, url: str, layout: Layout, progress: Progress) -> Moved:
    """Copy the ledger in `file` into the database, compare all of it, commit, and rename the file.

    Until the commit nothing is changed anywhere. With the file renamed no daemon goes on with it by mistake. Raises
    ConfigError for a URL that is not PostgreSQL's, StorageError while a daemon works on the storage, LedgerError where
    the database is not empty or not fit, or the ledger has another schema. SQLAlchemyError where it does not answer.
    """
    target = open_ledger(url)
    if not postgresql.is_meant(target.url):
        raise ConfigError(f"a ledger moves to PostgreSQL alone; {postgresql.ADVICE}")
    if not file.is_file():
        raise LedgerError(f"there is no ledger at {file}; start `rtseg-daemon serve` once")
    lock = locked(layout, "a ledger is not moved under a running daemon")
    own(layout.lock, layout.directory)
    source = open_ledger(URL.create("sqlite", database=str(file)), existing=True)
    try:
        require_own(source)
        require_fit(target)
        refuse_full(target)
        rows = copied(source, target, progress)
        source.dispose()
        aside = set_aside(file)
    finally:
        source.dispose()
        target.dispose()
        os.close(lock)
    return Moved(target.url.render_as_string(hide_password=True), rows, aside)


def refuse_full(target: Engine) -> None:
    """Raise LedgerError where the database holds anything."""
    if found := inspect(target).get_table_names():
        names = ", ".join(sorted(found)[:5]) + (", ..." if len(found) > 5 else "")
        raise LedgerError(f"{target.url} is not empty (it has {names}); name an empty database")


def copied(source: Engine, target: Engine, progress: Progress) -> dict[str, int]:
    """Schema and rows, in one transaction. No command writes into the old ledger meanwhile."""
    with (
        source.execution_options(write=True).begin() as reading,
        target.execution_options(write=True).begin() as writing,
    ):
        writing.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")  # while the file is read
        command.upgrade(alembic_config(writing), "head")
        return copy_all(reading, writing, progress)


def set_aside(file: Path) -> Path:
    """Rename the file and what belongs to it."""
    aside = file.with_name(f"{file.name}.moved-{stamp(time.time())}")
    for ending in PARTS:
        part = file.with_name(file.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    sync_folder(file.parent)
    return aside
