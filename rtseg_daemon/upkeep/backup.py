"""Online backups of the ledger by SQLite's backup API, each checked before it counts."""

import calendar
import contextlib
import math
import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.storage import sync_folder

KEEP = 14
INTERVAL_SECONDS = 6 * 3600.0
STAMP = "%Y%m%dT%H%M%S"
LONGEST_STAMP, HOUR = len("20260131T120000"), len("20260131T12")
NAME = re.compile(r"rtseg-\d{8}T\d{6}(-\d+)?\.db")


def back_up(database: Path, folder: Path, label: str | None = None) -> Path:
    """Copy the live `database` into `folder`, whole or not at all. Returns the copy.

    A `label` makes a name that `prune` leaves alone. Raises LedgerError if the copy is not intact.
    """
    target = _free_name(folder, label)
    copy_ledger(database, target)
    return target


def copy_ledger(database: Path, target: Path) -> None:
    """Copy a ledger that may be in use, whole or not at all. Raises LedgerError if the copy is not intact."""
    temporary = target.with_name(f"{target.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with (
            closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise LedgerError(f"the copy of {database} is not intact ({verdict}); check the disk, run doctor")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(target)
        sync_folder(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"{database} cannot be copied to {target}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _free_name(folder: Path, label: str | None) -> Path:
    stem = "-".join(part for part in ("rtseg", label, stamp(time.time())) if part)
    target, number = folder / f"{stem}.db", 1
    while target.exists():
        target, number = folder / f"{stem}-{number}.db", number + 1
    return target


def is_due(folder: Path, now: float) -> bool:
    """Whether the newest scheduled backup is too old. One from the future was made while the clock was wrong."""
    ages = [now - moment_of(path) for path in scheduled_backups(folder)]
    return not any(0 <= age < INTERVAL_SECONDS for age in ages)


def scheduled_backups(folder: Path) -> list[Path]:
    return [path for path in folder.glob("rtseg-*.db") if NAME.fullmatch(path.name)]


def moment_of(path: Path) -> float:
    """When a scheduled backup was made, by its name. Not a number where that is no date."""
    try:
        return float(calendar.timegm(time.strptime(stamp_of(path), STAMP)))
    except ValueError:
        return math.nan


def prune(folder: Path, keep: int = KEEP, now: float | None = None) -> list[Path]:
    """Delete all but the newest `keep` scheduled backups. Returns what was deleted.

    Of one hour the newest alone counts: a daemon that is started again and again would else drive all others out. A
    backup whose name lies in the future was made while the clock was wrong. It counts as older than all others, or it
    would stay for ever and every new one would go.
    """
    moment = stamp(time.time() if now is None else now)
    scheduled = sorted(scheduled_backups(folder), key=lambda path: (stamp_of(path) <= moment, path.name))
    of_hours = {stamp_of(path)[:HOUR]: path for path in scheduled}  # the last of each
    kept = [path for path in scheduled if path in of_hours.values()][-keep:] if keep else []
    old = [path for path in scheduled if path not in kept]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def stamp_of(path: Path) -> str:
    return path.name[len("rtseg-") :][:LONGEST_STAMP]


def stamp(seconds: float) -> str:
    """A moment as it stands in a backup's name."""
    return time.strftime(STAMP, time.gmtime(seconds))
