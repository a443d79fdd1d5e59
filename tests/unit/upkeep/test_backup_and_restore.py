"""Backups at the start and by age, an alarm where one fails, and the commands that make one and put one back."""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import LedgerError, StorageError
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.migrate import require_current, upgrade
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.storage import Layout, lock_storage
from rtseg_daemon.upkeep import chores
from rtseg_daemon.upkeep.backup import INTERVAL_SECONDS, back_up, is_due, prune, stamp
from rtseg_daemon.upkeep.chores import Chore, Housekeeper, Upkeep, back_up_ledger, chores_for
from rtseg_daemon.upkeep.restore import restore
from tests.world import wait_for

NOW = 1767225600.0


@pytest.fixture
def database(config: Config, layout: Layout) -> Path:
    """A ledger where the configuration has it, with one alarm in it."""
    engine = open_ledger(config.database_url)
    upgrade(engine)
    with writing(engine) as session:
        raise_alarm(session, "test", "first", "x")
    engine.dispose()
    file = database_file(config.database_url)
    assert file is not None
    return file


@pytest.fixture
def upkeep(config: Config, layout: Layout, database: Path) -> Iterator[Upkeep]:
    engine = open_ledger(config.database_url)
    yield Upkeep(config, layout, engine, receiver_pid=lambda: None)
    engine.dispose()


def alarms(file: Path) -> list[str]:
    """Keys of the alarms in a ledger."""
    with closing(sqlite3.connect(file)) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM alarm ORDER BY id")]


def backups(layout: Layout) -> list[str]:
    return sorted(path.name for path in layout.backup.iterdir())


# --- by itself -------------------------------------------------------------------------------------------------------


def test_a_backup_is_made_at_the_start(upkeep: Upkeep, layout: Layout, config: Config) -> None:
    (chore,) = (chore for chore in chores_for(config) if chore.name == "backup")
    keeper = Housekeeper(upkeep, (chore,))
    keeper.start()
    try:
        wait_for(lambda: len(backups(layout)) == 1 and "backup" in upkeep.finished, 20)
    finally:
        keeper.stop(5)
    assert alarms(layout.backup / backups(layout)[0]) == ["first"]


def test_a_chore_that_is_not_for_the_start_waits_for_its_turn(upkeep: Upkeep) -> None:
    turns: list[str] = []
    keeper = Housekeeper(
        upkeep,
        (
            Chore("later", 60.0, lambda _: turns.append("later")),
            Chore("first", 60.0, lambda _: turns.append("first"), at_start=True),
        ),
    )
    keeper.start()
    wait_for(lambda: bool(turns), 20)
    keeper.stop(5)
    assert turns == ["first"]


def test_the_next_backup_is_due_by_the_age_of_the_last_one(layout: Layout) -> None:
    """However often the daemon was started since, and however long it has run."""
    assert is_due(layout.backup, NOW)
    (layout.backup / f"rtseg-{stamp(NOW)}.db").touch()
    (layout.backup / f"rtseg-by-hand-{stamp(NOW + INTERVAL_SECONDS)}.db").touch()
    assert not is_due(layout.backup, NOW + INTERVAL_SECONDS - 1)
    assert is_due(layout.backup, NOW + INTERVAL_SECONDS)
    (layout.backup / f"rtseg-{stamp(NOW + 10 * INTERVAL_SECONDS)}.db").touch()
    assert is_due(layout.backup, NOW + INTERVAL_SECONDS), "one from the future was made while the clock was wrong"
    (layout.backup / "rtseg-99999999T999999.db").touch()
    assert is_due(layout.backup, NOW + INTERVAL_SECONDS), "that is no date"


def test_a_turn_makes_a_backup_only_when_one_is_due(
    upkeep: Upkeep, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up_ledger(upkeep)
    upkeep.finished["backup"] = time.time()
    back_up_ledger(upkeep)
    assert len(backups(layout)) == 1
    monkeypatch.setattr(chores, "is_due", lambda *_: True)
    back_up_ledger(upkeep)
    assert len(backups(layout)) in (1, 2), "of one hour the newest is kept"


def test_a_daemon_that_is_started_again_and_again_drives_no_old_backup_out(layout: Layout) -> None:
    for day in range(1, 5):
        (layout.backup / f"rtseg-2026010{day}T000000.db").touch()
    for second in range(30):
        (layout.backup / f"rtseg-20260105T0000{second:02}.db").touch()
        prune(layout.backup, keep=5, now=NOW + 5 * 86400)
    assert backups(layout) == [f"rtseg-2026010{day}T000000.db" for day in range(1, 5)] + ["rtseg-20260105T000029.db"]


def test_a_backup_that_fails_is_an_alarm(upkeep: Upkeep, layout: Layout) -> None:
    layout.backup.rmdir()
    layout.backup.write_text("no folder")
    for _ in range(2):
        with pytest.raises(LedgerError, match="cannot be copied"):
            back_up_ledger(upkeep)
    with reading(upkeep.engine) as session:
        told = [(alarm.kind, alarm.message) for alarm in session.query(Alarm).filter_by(kind="backup")]
    assert len(told) == 1, "once a day"
    assert told[0][1].startswith("no backup of the ledger could be made: ")


# --- put back --------------------------------------------------------------------------------------------------------


def test_a_backup_takes_the_ledgers_place_and_the_present_one_stays_beside_it(database: Path, layout: Layout) -> None:
    copy = back_up(database, layout.backup)
    engine = open_ledger(f"sqlite:///{database}")
    with writing(engine) as session:
        raise_alarm(session, "test", "second", "x")
    done = restore(copy, database, layout)  # its log is still open, as after a crash
    engine.dispose()
    assert alarms(database) == ["first"]
    assert done.set_aside is not None
    assert alarms(done.set_aside) == ["first", "second"], "what was in its log is not lost"
    assert json.loads(layout.restored.read_text())["source"] == str(copy)
    assert oct(database.stat().st_mode & 0o777) == "0o600"
    restored = open_ledger(f"sqlite:///{database}")
    require_current(restored)
    restored.dispose()


def test_a_ledger_that_is_broken_or_gone_is_replaced_too(database: Path, layout: Layout) -> None:
    copy = back_up(database, layout.backup)
    database.write_bytes(b"broken")
    restore(copy, database, layout)
    assert alarms(database) == ["first"]
    for part in ("", "-wal", "-shm"):
        database.with_name(database.name + part).unlink(missing_ok=True)
    database.with_name(database.name + "-wal").write_bytes(b"left over")
    assert restore(copy, database, layout).set_aside is None
    assert alarms(database) == ["first"]


def test_no_ledger_is_restored_under_a_running_daemon(database: Path, layout: Layout) -> None:
    copy = back_up(database, layout.backup)
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    lock = lock_storage(layout)
    try:
        with pytest.raises(StorageError, match=r"stop it, .* not restored under a running daemon"):
            restore(copy, database, layout)
    finally:
        os.close(lock)
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before
    assert not layout.restored.exists()


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:8192] = bytes(4096)
    file.write_bytes(content)


def newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def no_ledger(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE other (id INTEGER)")


def no_database(file: Path) -> None:
    file.write_bytes(b"text" * 1000)


def missing(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (damaged, "not intact|cannot be copied"),
        (newer, "schema 9999 is newer"),
        (no_ledger, "no ledger of this daemon"),
        (no_database, "cannot be copied"),
        (missing, "there is no backup at"),
    ],
)
def test_what_cannot_serve_is_not_restored_and_nothing_is_changed(
    database: Path, layout: Layout, spoil: object, reason: str
) -> None:
    copy = back_up(database, layout.backup)
    spoil(copy)  # type: ignore[operator]
    before = names_in(database.parent)
    with pytest.raises(LedgerError, match=reason):
        restore(copy, database, layout)
    assert alarms(database) == ["first"]
    assert names_in(database.parent) == before


def names_in(folder: Path) -> set[str]:
    """What lies there, but for the lock and what SQLite keeps beside a database that was opened."""
    return {path.name for path in folder.iterdir()} - {"lock", "rtseg.db-wal", "rtseg.db-shm"}


def test_the_present_ledger_is_no_backup_of_itself(database: Path, layout: Layout) -> None:
    with pytest.raises(LedgerError, match="is the present ledger"):
        restore(database, database, layout)


def test_an_older_schema_may_be_restored(database: Path, layout: Layout) -> None:
    copy = back_up(database, layout.backup)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    assert restore(copy, database, layout).schema == "0001"
