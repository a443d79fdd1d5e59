"""A whole ledger copied from one database to another, table by table, and compared row by row."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, String, Table, func, inspect, select, text

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger import comparison_tables, feedback_tables, people
from rtseg_daemon.ledger.schema import Base

KNOWN = (comparison_tables, feedback_tables, people)
"""Imported so that their tables are known."""
AT_ONCE = 2000
NOT_COPIED = frozenset(("alembic_version",))
Row = Mapping[str, Any]
Progress = Callable[[str, int, int], None]


def tables() -> Sequence[Table]:
    """Every table of a ledger, each after those that it refers to."""
    return Base.metadata.sorted_tables


def copy_all(source: Connection, target: Connection, progress: Progress) -> dict[str, int]:
    """Copy every row into the empty tables of `target`, compare, and set its numbers. Returns table -> rows.

    `progress` hears the table, how many rows are there, and of how many. Nothing is committed. Raises LedgerError where
    a table or a value cannot be taken along, or what was written is not what is read back.
    """
    refuse_unknown(source)
    with references_later(target):
        counts = {table.name: copy_table(table, source, target, progress) for table in tables()}
    for table in tables():
        before, after = digest(table, source), digest(table, target)
        if before != after:
            raise LedgerError(f"table {table.name} is not the same after copying ({before} and {after}); report it")
    set_numbers(target)
    return counts


def refuse_unknown(source: Connection) -> None:
    """Raise LedgerError for a table that would be left out."""
    unknown = set(inspect(source).get_table_names()) - {table.name for table in tables()} - NOT_COPIED
    if unknown:
        raise LedgerError(f"the ledger has tables that this version does not know: {', '.join(sorted(unknown))}")


def copy_table(table: Table, source: Connection, target: Connection, progress: Progress) -> int:
    """All rows of one table. Returns how many."""
    total = source.scalar(select(func.count()).select_from(table)) or 0
    done = 0
    for rows in batches(source, select(table)):
        refuse_nul(table, rows)
        target.execute(table.insert(), rows)
        done += len(rows)
        progress(table.name, done, total)
    return done


def batches(connection: Connection, query: Select[Any]) -> Iterator[list[dict[str, Any]]]:
    """Rows as dictionaries, some at a time."""
    found = connection.execute(query.execution_options(yield_per=AT_ONCE))
    for part in found.mappings().partitions():
        yield [dict(row) for row in part]


def refuse_nul(table: Table, rows: Sequence[Row]) -> None:
    """Raise LedgerError for a text that PostgreSQL cannot hold."""
    for row in rows:
        bad = [name for name, value in row.items() if isinstance(value, str) and "\0" in value]
        if bad:
            key = ", ".join(f"{column.name} {row[column.name]!r}" for column in table.primary_key)
            raise LedgerError(f"table {table.name}, {key}: {bad[0]} has a NUL byte, which PostgreSQL cannot hold")


def digest(table: Table, connection: Connection) -> str:
    """Count and SHA-256 of all rows in the order of their key, the same in every database."""
    order = [by_bytes(column, connection) for column in table.primary_key]
    found, count = hashlib.sha256(), 0
    for rows in batches(connection, select(table).order_by(*order)):
        for row in rows:
            found.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
        count += len(rows)
    return f"{count} rows, {found.hexdigest()}"


def by_bytes(column: ColumnElement[Any], connection: Connection) -> ColumnElement[Any]:
    """A key's column as SQLite orders it, whatever the language of the other database."""
    is_text = isinstance(column.type, String) and connection.dialect.name == "postgresql"
    return column.collate("C") if is_text else column


@contextmanager
def references_later(connection: Connection) -> Iterator[None]:
    """Rows may refer to rows of their own table that come later (the set that supersedes one)."""
    _alter(connection, "DEFERRABLE INITIALLY DEFERRED")
    yield
    connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    _alter(connection, "NOT DEFERRABLE")


def _alter(connection: Connection, how: str) -> None:
    for table in tables():
        for key in inspect(connection).get_foreign_keys(table.name):
            if key["referred_table"] == table.name:
                connection.execute(text(f'ALTER TABLE "{table.name}" ALTER CONSTRAINT "{key["name"]}" {how}'))


def set_numbers(connection: Connection) -> None:
    """Let every table's next number be larger than all that are there."""
    for table in tables():
        column = table.autoincrement_column
        if column is not None and (last := connection.scalar(select(func.max(column)))):
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            connection.execute(select(func.setval(sequence, last)))
