"""Hosts are upgraded one after the other: a daemon of the schema before works on while the ledger has the new one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Column, Engine, MetaData, Table, inspect, select, update

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import (
    TOLERATED,
    TOLERATED_KEY,
    alembic_config,
    needs_upgrade,
    newest_revision,
    require_current,
    require_own,
    upgrade,
)
from rtseg_daemon.ledger.schema import Setting
from rtseg_daemon.web.schema_check import refuse_other_schema
from tests.postgres import Server


def make_old(url: str) -> None:
    engine = open_ledger(url)
    with engine.execution_options(write=True).begin() as connection:
        command.upgrade(alembic_config(connection), TOLERATED)
    engine.dispose()


@pytest.fixture(scope="module")
def old_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A ledger of the oldest schema that this version tolerates beside its own, made once."""
    file = tmp_path_factory.mktemp("old") / "rtseg.db"
    make_old(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture(scope="module")
def old_database(postgres: Server) -> str:
    """The name of such a database, from which others are copied."""
    make_old(postgres.new_database())
    return f"test{postgres.count}"


@pytest.fixture
def old(ledger_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty ledger of that schema."""
    if ledger_kind == "postgresql":
        template = request.getfixturevalue("old_database")
        url = request.getfixturevalue("postgres").new_database(f"TEMPLATE {template}")
    else:
        url = f"sqlite:///{tmp_path / 'a.db'}"
        (tmp_path / "a.db").write_bytes(request.getfixturevalue("old_file"))
    engine = open_ledger(url)
    yield engine
    engine.dispose()


def reflected(engine: Engine) -> MetaData:
    """The tables as the daemon of that schema knows them."""
    found = MetaData()
    found.reflect(engine)
    return found


def shape(table: Table) -> dict[str, tuple[str, bool]]:
    return {column.name: (str(column.type), bool(column.nullable)) for column in table.columns}


def constraints(engine: Engine) -> dict[str, Any]:
    """What a table refuses, for each table."""
    looked = inspect(engine)
    return {
        name: (
            sorted(str(sorted(one["column_names"])) for one in looked.get_unique_constraints(name)),
            sorted(
                str((sorted(one["constrained_columns"]), one["referred_table"]))
                for one in looked.get_foreign_keys(name)
            ),
            sorted(str(one["sqltext"]) for one in looked.get_check_constraints(name)),
            sorted(str(one["name"]) for one in looked.get_indexes(name) if one["unique"]),
            looked.get_pk_constraint(name)["constrained_columns"],
        )
        for name in looked.get_table_names()
    }


def test_the_migrations_since_the_tolerated_schema_only_add(old: Engine) -> None:
    """Whoever writes one that takes away or changes what is there raises TOLERATED to its number."""
    before, rules = reflected(old), constraints(old)
    upgrade(old)
    after, new_rules = reflected(old), constraints(old)
    for name, table in before.tables.items():
        assert name in after.tables, f"table {name} is gone"
        columns = shape(after.tables[name])
        assert {key: columns.get(key) for key in shape(table)} == shape(table), f"a column of {name} is not as it was"
        assert new_rules[name] == rules[name], f"{name} refuses what it took before"


def filling(column: Column[Any]) -> Any:
    """A value for a column that must have one."""
    kind = column.type.python_type
    return {str: "x", int: 1, float: 1.0, bool: True}.get(kind, {})


def test_a_daemon_of_the_schema_before_goes_on_writing_every_table(old: Engine) -> None:
    """It names the columns that it knows, and no others."""
    known = reflected(old)
    upgrade(old)
    with old.execution_options(write=True).begin() as connection:
        for table in known.sorted_tables:
            if table.name in ("alembic_version", "setting"):
                continue
            values = {c.name: filling(c) for c in table.columns if not c.nullable or c.primary_key}
            connection.execute(table.insert().values(values))
            connection.execute(update(table).values({table.primary_key.columns[0].name: values[next(iter(values))]}))
            assert len(connection.execute(select(table)).all()) == 1, table.name


def as_if_newer(engine: Engine, revision: str, since: str | None) -> None:
    """What a version that nobody knows yet makes of a ledger, and since when it works with others."""
    with engine.execution_options(write=True).begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
        told = update(Setting).where(Setting.key == TOLERATED_KEY)
        connection.execute(told.values(value=since) if since else told.values(key="gone"))


def test_a_newer_schema_that_tolerates_this_version_is_worked_with_and_not_migrated(old: Engine) -> None:
    upgrade(old)
    as_if_newer(old, "9999", newest_revision())
    assert needs_upgrade(old) is False
    upgrade(old)
    require_current(old)
    refuse_other_schema(old)
    with old.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"
    with pytest.raises(LedgerError, match="schema 9999, this version knows"):
        require_own(old)


@pytest.mark.parametrize("since", ["9999", None])
def test_a_newer_schema_that_has_changed_what_was_there_is_refused(old: Engine, since: str | None) -> None:
    upgrade(old)
    as_if_newer(old, "9999", since)
    for look in (needs_upgrade, upgrade, require_current):
        with pytest.raises(
            LedgerError, match="schema 9999 is newer than this version of the daemon; install the newer"
        ):
            look(old)
    with pytest.raises(LedgerError, match="the ledger has schema 9999"):
        refuse_other_schema(old)


def test_an_older_schema_is_brought_up_by_serve_alone(old: Engine) -> None:
    assert needs_upgrade(old)
    with pytest.raises(LedgerError, match=f"schema {TOLERATED}, this version needs {newest_revision()}; start"):
        require_current(old)
