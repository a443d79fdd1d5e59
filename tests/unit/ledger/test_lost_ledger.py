"""A ledger whose file was deleted, replaced, damaged, or lies under an odd name."""

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.config.file import Config
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.loss import LedgerGone, LedgerUnreachable, hindrance, loss, quick_check
from rtseg_daemon.ledger.migrate import require_current, upgrade
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.sqlite_file import Opened, database_file


@pytest.fixture
def ledger_kind() -> str:
    """These are about the file. What may become of a database server: test_lost_connections.py."""
    return "sqlite"


def note(ledger: Engine, key: str) -> None:
    with writing(ledger) as session:
        raise_alarm(session, "test", key, "x")


def test_nothing_is_committed_to_a_ledger_that_was_deleted(ledger: Engine, tmp_path: Path) -> None:
    note(ledger, "before")
    (tmp_path / "rtseg.db").unlink()
    with pytest.raises(LedgerGone, match=r"rtseg\.db is gone while the daemon was using it") as raised:
        note(ledger, "after")
    assert "restore a backup" in (loss(raised.value) or "")
    with reading(ledger) as session:
        assert [alarm.key for alarm in session.query(Alarm)] == ["before"]


def test_nothing_is_committed_to_a_ledger_that_another_file_replaced(ledger: Engine, tmp_path: Path) -> None:
    note(ledger, "before")
    file = tmp_path / "rtseg.db"
    shutil.copy(file, tmp_path / "copy.db")
    (tmp_path / "copy.db").rename(file)
    with pytest.raises(LedgerGone, match="was replaced by another file"):
        note(ledger, "after")


def test_no_empty_ledger_takes_the_place_of_a_deleted_one(ledger: Engine, tmp_path: Path) -> None:
    note(ledger, "before")
    for file in tmp_path.glob("rtseg.db*"):
        file.unlink()
    refused: list[BaseException] = []

    def use_a_connection_of_its_own() -> None:
        with reading(ledger) as held:
            held.connection()
            try:
                note(ledger, "after")
            except SQLAlchemyError as error:
                refused.append(error)

    thread = threading.Thread(target=use_a_connection_of_its_own)
    thread.start()
    thread.join(30)
    assert [type(error) for error in refused] == [LedgerGone]
    assert not (tmp_path / "rtseg.db").exists()


def test_a_ledger_on_a_mount_that_is_away_is_tried_again(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(ledger, "before")

    def stale(_path: Path, **_options: object) -> None:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as away:
        away.setattr(Path, "stat", stale)
        with pytest.raises(LedgerUnreachable, match="Stale file handle") as raised:
            note(ledger, "meanwhile")
    assert loss(raised.value) is None
    note(ledger, "after")


def test_a_damaged_ledger_is_told_from_a_busy_one(ledger: Engine, tmp_path: Path) -> None:
    quick_check(ledger)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    engine = open_ledger(f"sqlite:///{broken}")
    with pytest.raises(SQLAlchemyError) as raised:
        note(engine, "a")
    assert "the ledger is damaged (file is not a database)" in (loss(raised.value) or "")
    assert loss(sqlite3.OperationalError("database is locked")) is None


def test_a_page_that_was_overwritten_is_found(ledger: Engine, tmp_path: Path) -> None:
    for number in range(300):
        note(ledger, f"{number} {'x' * 200}")
    ledger.dispose()
    file = tmp_path / "rtseg.db"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = b"\xff" * 20_000
    file.write_bytes(content)
    engine = open_ledger(str(ledger.url))
    with pytest.raises(SQLAlchemyError) as raised:
        quick_check(engine)
    assert "the ledger is damaged" in (loss(raised.value) or "")
    engine.dispose()


def test_what_hinders_the_ledger_is_told_without_the_values_of_a_statement(ledger: Engine) -> None:
    note(ledger, "a")
    with pytest.raises(SQLAlchemyError) as raised, writing(ledger) as session:
        session.add(Alarm(at=0.0, kind="test", key="a", message="PATIENT"))
    assert "PATIENT" in str(raised.value)
    assert hindrance(raised.value) == "UNIQUE constraint failed: alarm.key"


@pytest.mark.parametrize("name", ["what?", "ward#3", "50%20off", "a b+c", "Stra\u00dfe"])
def test_a_storage_path_with_marks_of_a_url_holds_its_ledger(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    config = Config.model_validate({"storage": {"directory": folder}})
    assert database_file(config.database_url) == folder / "rtseg.db"
    engine = open_ledger(config.database_url)
    upgrade(engine)
    require_current(engine)
    note(engine, "a")
    engine.dispose()
    assert [path.name for path in folder.glob("*.db")] == ["rtseg.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_process_that_starts_after_the_ledger_was_deleted_makes_no_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "rtseg.db"
    engine = open_ledger(f"sqlite:///{file}", existing=True)
    with pytest.raises(LedgerGone, match="is gone"), reading(engine) as session:
        session.execute(text("SELECT 1"))
    assert not file.exists()
    engine.dispose()


def test_a_ledger_that_is_deleted_while_somebody_connects_is_not_made_anew(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(ledger, "before")
    engine = open_ledger(ledger.url, existing=True)
    look = Opened.found

    def seen_for_the_last_time(self: Opened) -> tuple[int, int] | None:
        seen = look(self)
        for file in tmp_path.glob("rtseg.db*"):
            file.unlink()
        return seen

    monkeypatch.setattr(Opened, "found", seen_for_the_last_time)
    with pytest.raises(LedgerGone, match="is gone"), reading(engine) as session:
        session.execute(text("SELECT 1"))
    assert not (tmp_path / "rtseg.db").exists()
    engine.dispose()
