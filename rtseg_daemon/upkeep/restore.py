"""A backup takes the ledger's place, which stays beside it. The next start compares storage and ledger."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.errors import LedgerError, StorageError
from rtseg_daemon.ledger.migrate import is_known
from rtseg_daemon.storage import Layout, lock_storage, sync_folder, write_durably
from rtseg_daemon.upkeep.backup import copy_ledger, stamp

PARTS = ("", "-wal", "-shm")
"""What SQLite keeps beside a database, by the end of its name. They belong together."""


@dataclass(frozen=True)
class Restored:
    """What was done.

    Args:
        ledger: the file that the daemon uses now.
        source: the backup.
        schema: its revision. The next start brings an older one to this version's.
        set_aside: the ledger that was there before, None where there was none.
    """

    ledger: Path
    source: Path
    schema: str
    set_aside: Path | None


def restore(source: Path, ledger: Path, layout: Layout) -> Restored:
    """Put a copy of `source` in the ledger's place.

    Raises StorageError while a daemon works on the storage, LedgerError where the backup is not intact, is no ledger or
    of a newer version. Then nothing is changed. What breaks off later is made good by doing it again: a start without a
    ledger is refused while there are images.
    """
    if not source.is_file():
        raise LedgerError(f"there is no backup at {source}; those of this daemon are in {layout.backup}")
    if ledger.exists() and source.samefile(ledger):
        raise LedgerError(f"{source} is the present ledger; name a backup, see {layout.backup}")
    lock = locked(layout, "a ledger is not restored under a running daemon")
    try:
        fresh = ledger.with_name(f"{ledger.name}.restoring")
        copy_ledger(source, fresh)
        schema = schema_of(fresh, source)
        own(fresh, layout.directory)
        note = {"source": str(source), "schema": schema, "at": time.time()}
        write_durably(layout.restored, json.dumps(note).encode())
        own(layout.restored, layout.directory)
        own(layout.lock, layout.directory)
        before = set_aside(ledger)
        fresh.rename(ledger)
        sync_folder(ledger.parent)
    except OSError as error:
        raise StorageError(f"{ledger} cannot be replaced: {error.strerror}; mend that and restore again") from error
    finally:
        os.close(lock)
    return Restored(ledger, source, schema, before)


def locked(layout: Layout, why: str) -> int:
    """The storage lock, which no daemon may hold. `why` ends the sentence where one does."""
    if not layout.directory.is_dir():
        raise StorageError(f"storage.directory {layout.directory} is not there; make it for the service user first")
    try:
        return lock_storage(layout, wait_seconds=0.0)
    except StorageError as error:
        raise StorageError(f"{error}: {why}") from error


def schema_of(copy: Path, source: Path) -> str:
    """The revision of a copied ledger. Raises LedgerError, and removes the copy, where it cannot be used."""
    try:
        with closing(sqlite3.connect(copy)) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.DatabaseError:
        rows = []
    found = str(rows[0][0]) if len(rows) == 1 else ""
    if found and is_known(found):
        return found
    copy.unlink()
    if not found:
        raise LedgerError(f"{source} is a database, but no ledger of this daemon")
    raise LedgerError(f"{source}: schema {found} is newer than this version of the daemon; install the newer one")


def set_aside(ledger: Path) -> Path | None:
    """Rename the present ledger and what belongs to it. Returns its new name, None where there is none."""
    aside = ledger.with_name(f"{ledger.name}.before-restore-{stamp(time.time())}")
    found = list(present(ledger))
    for ending in found:
        ledger.with_name(ledger.name + ending).rename(aside.with_name(aside.name + ending))
    return aside if "" in found else None


def present(ledger: Path) -> Iterator[str]:
    return (ending for ending in PARTS if ledger.with_name(ledger.name + ending).exists())


def own(path: Path, folder: Path) -> None:
    """For the owner of the storage alone, also where root restores."""
    path.chmod(0o600)
    if os.getuid() == 0:
        status = folder.stat()
        os.chown(path, status.st_uid, status.st_gid)
