"""Online backups of the ledger by SQLite's backup API, each checked before it counts."""

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.storage import sync_folder

KEEP = 14
NAME = re.compile(r"rtseg-\d{8}T\d{6}(-\d+)?\.db")


def back_up(database: Path, folder: Path, label: str | None = None) -> Path:
    """Copy the live `database` into `folder`, whole or not at all. Returns the copy.

    A `label` makes a name that `prune` leaves alone. Raises LedgerError if the copy is not intact.
    """
    target = _free_name(folder, label)
    temporary = target.with_suffix(".part")
    temporary.unlink(missing_ok=True)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(temporary)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise LedgerError(f"the backup of {database} is not intact ({verdict}); check the disk, run doctor")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(target)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"{database} cannot be backed up to {folder}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    return target


def _free_name(folder: Path, label: str | None) -> Path:
    stem = "-".join(part for part in ("rtseg", label, stamp(time.time())) if part)
    target, number = folder / f"{stem}.db", 1
    while target.exists():
        target, number = folder / f"{stem}-{number}.db", number + 1
    return target


def prune(folder: Path, keep: int = KEEP, now: float | None = None) -> list[Path]:
    """Delete all but the newest `keep` scheduled backups. Returns what was deleted.

    A backup whose name lies in the future was made while the clock was wrong. It counts as older than all others, or it
    would stay for ever and every new one would go.
    """
    moment = stamp(time.time() if now is None else now)
    scheduled = [path for path in folder.glob("rtseg-*.db") if NAME.fullmatch(path.name)]
    scheduled.sort(key=lambda path: (path.name[len("rtseg-") : len("rtseg-") + len(moment)] <= moment, path.name))
    old = scheduled[:-keep] if keep else scheduled
    for path in old:
        path.unlink(missing_ok=True)
    return old


def stamp(seconds: float) -> str:
    """A moment as it stands in a backup's name."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
