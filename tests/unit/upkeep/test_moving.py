"""`ledger move`: every row arrives as it was, or nothing is changed."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Connection, Float, Integer, Table, select
from typer.testing import CliRunner

from rtseg_daemon.cli import app
from rtseg_daemon.errors import ConfigError, LedgerError, StorageError
from rtseg_daemon.ledger import copying
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.migrate import require_current
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.storage import Layout, lock_storage
from rtseg_daemon.upkeep.moving import move
from tests.postgres import Server
from tests.world import write_config

ROWS = 3


def value_of(column: Any, number: int) -> Any:
    """Something of the column's type, other than its neighbours'."""
    if column.foreign_keys:
        own = next(iter(column.foreign_keys)).column.table is column.table
        return number % ROWS + 1 if own else number  # the last row of its own table refers to the first, others ahead
    kind = column.type
    if isinstance(kind, JSON):
        return {"ä": [number, 0.1, None, "\u20ac"]}
    if isinstance(kind, Boolean):
        return bool(number % 2)
    if isinstance(kind, Integer):
        return number if column.primary_key else 2**40 + number
    if isinstance(kind, Float):
        return 1764271234.1234567 + number / 3
    names = getattr(kind, "enums", None)
    if names:
        return kind.python_type[names[number % len(names)]] if kind.enum_class else names[number % len(names)]
    return f"{'aBÄ'[number % 3]}-{column.name}-{number}'\"%s\\"


def fill(connection: Connection, table: Table) -> None:
    for number in range(1, ROWS + 1):
        connection.execute(table.insert(), {column.name: value_of(column, number) for column in table.columns})


@pytest.fixture
def layout(tmp_path: Path, empty_ledger: bytes) -> Layout:
    """A storage whose ledger has rows in every table."""
    found = Layout(tmp_path / "storage")
    found.create()
    file = found.directory / "rtseg.db"
    file.write_bytes(empty_ledger)
    engine = open_ledger(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        connection.exec_driver_sql("DELETE FROM setting")
        for table in copying.tables():
            fill(connection, table)
    engine.dispose()
    return found


def heard() -> tuple[list[tuple[str, int, int]], copying.Progress]:
    told: list[tuple[str, int, int]] = []
    return told, lambda *one: told.append(one)


def test_every_row_of_every_table_arrives_and_numbers_go_on(layout: Layout, postgres: Server) -> None:
    file, url = layout.directory / "rtseg.db", postgres.new_database()
    before = {}
    engine = open_ledger(f"sqlite:///{file}")
    with engine.connect() as connection:
        for table in copying.tables():
            before[table.name] = connection.execute(select(table).order_by(*table.primary_key)).all()
    engine.dispose()
    told, progress = heard()
    done = move(file, url, layout, progress)
    assert done.rows == {table.name: ROWS for table in copying.tables()}
    assert told == [(table.name, ROWS, ROWS) for table in copying.tables()]
    assert not file.exists()
    assert done.set_aside.is_file()
    target = open_ledger(url)
    require_current(target)
    with target.connect() as connection:
        for table in copying.tables():
            rows = connection.execute(select(table).order_by(*table.primary_key)).all()
            assert sorted(map(str, rows)) == sorted(map(str, before[table.name])), table.name
    with writing(target) as session:
        record_event(session, "daemon", None, "moved")
    with reading(target) as session:
        assert [event.id for event in session.query(Event).order_by(Event.id)] == [1, 2, 3, 4]
    target.dispose()


def test_a_value_that_was_altered_on_the_way_is_found_and_nothing_is_committed(
    layout: Layout, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = copying.refuse_nul

    def alter(table: Table, rows: list[dict[str, Any]]) -> None:
        honest(table, rows)
        if table.name == "setting":
            rows[1]["value"] += "?"

    monkeypatch.setattr(copying, "refuse_nul", alter)
    url = postgres.new_database()
    with pytest.raises(LedgerError, match="table setting is not the same after copying"):
        move(layout.directory / "rtseg.db", url, layout, heard()[1])
    monkeypatch.undo()
    assert (layout.directory / "rtseg.db").is_file()
    assert move(layout.directory / "rtseg.db", url, layout, heard()[1]).rows["setting"] == ROWS, "the database is empty"


def test_what_cannot_be_moved_is_refused_and_stays(layout: Layout, postgres: Server, tmp_path: Path) -> None:
    file, url = layout.directory / "rtseg.db", postgres.new_database()

    def refused(error: type[Exception], words: str, to: str = url) -> None:
        with pytest.raises(error, match=words):
            move(file, to, layout, heard()[1])
        assert file.is_file()

    refused(ConfigError, "a ledger moves to PostgreSQL alone", f"sqlite:///{tmp_path / 'b.db'}")
    postgres_url = postgres.new_database()
    engine = open_ledger(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE patients (name text)")
    engine.dispose()
    refused(LedgerError, r"is not empty \(it has patients\); name an empty database", postgres_url)
    lock = lock_storage(layout)
    refused(StorageError, "another daemon works on .*a ledger is not moved under a running daemon")

    os.close(lock)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE setting SET value = 'a' || char(0) || 'b' WHERE key LIKE '%-2%'")
    refused(LedgerError, "table setting, key .*: value has a NUL byte, which PostgreSQL cannot hold")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0011'")
    refused(LedgerError, "schema 0011, this version needs")


def test_the_command_says_what_comes_next(layout: Layout, postgres: Server, tmp_path: Path) -> None:
    config = write_config(tmp_path, 1, storage={"directory": str(layout.directory)})
    url = postgres.new_database()
    done = CliRunner().invoke(app, ["ledger", "move", "--to", url, "--config", str(config)])
    assert done.exit_code == 0, done.output
    assert f"Set database.url in {config} to that URL, then: rtseg-daemon config check --deep {config}" in done.output
    assert f"event: {ROWS} of {ROWS}" in done.output
