"""What the commands share: options, the opened ledger, and printing."""

import contextlib
import json
import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.errors import ConfigError, LedgerError
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.events import person
from rtseg_daemon.ledger.migrate import require_current
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.storage import layout_of

ConfigFile = Annotated[
    Path | None, typer.Option("--config", envvar="RTSEG_CONFIG", help="The configuration file.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

out = Console()
LOGIN_UID = Path("/proc/self/loginuid")
NO_LOGIN = 2**32 - 1
FLAG_STYLES = {
    "OK": "green",
    "REVIEW": "yellow",
    "REJECT": "red",
    "HELD": "yellow",
    "FAILED": "red",
    "DELIVERED": "green",
}


UNBOUNDED = 100_000
"""Characters in a line of what is piped on: no table is that wide."""

GAP = 2
LEAST_FOLDED = 5
HEADS = {"attempts": "tries", "instance_count": "images"}
"""Shorter headings of narrow columns."""

LONGEST_WHOLE = 24
WHOLE = frozenset(
    ("id", "job", "state", "from", "to", "patient_id", "last_status", "status", "pid", "flag", "ml", "verdict")
)
"""Columns that are never folded, up to so many characters."""


@dataclass(frozen=True)
class Open:
    """A configuration and its ledger."""

    config: Config
    engine: Engine

    @property
    def storage(self) -> Path:
        return self.config.storage.directory

    def shown(self, path: str, host: str) -> str:
        """Where a file of the ledger lies."""
        return layout_of(self.config).shown(path, host)


def require_config(path: Path | None) -> Config:
    """The configuration. Raises ConfigError if none was named."""
    if path is None:
        raise ConfigError("no configuration: say --config FILE, or set RTSEG_CONFIG")
    return load_config(path)


def open_existing(path: Path | None) -> Open:
    """The ledger that the configuration names, which must exist with this version's schema. Nothing is migrated."""
    config = require_config(path)
    file = database_file(config.database_url)
    if file is not None and not file.is_file():
        raise LedgerError(f"there is no ledger at {file}; start `rtseg-daemon serve` once")
    engine = open_ledger(config.database_url)
    require_current(engine)
    return Open(config, engine)


def who() -> str:
    """Who gives the command, for the events: the account, and who logged in where that is someone else.

    The kernel keeps the login's user id through sudo and su. What the environment says (SUDO_USER) is not asked, since
    anybody can set it.
    """
    account, login = account_of(os.getuid()), login_uid()
    if login is None or login == os.getuid():
        return person(account)
    return f"{person(account_of(login))} as {account}"


def account_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def login_uid() -> int | None:
    """The user id of the login that this process came from, or None where the kernel knows of none."""
    try:
        uid = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        return None
    return None if uid == NO_LOGIN else uid


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_done(document: Any, line: str, as_json: bool) -> None:
    """Tell of what is committed: `document` as JSON or `line`. It stays done where nobody reads the output."""
    try:
        if as_json:
            print_json(document)
        else:
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        with contextlib.suppress(OSError):
            print(f"rtseg-daemon: done, though the output was closed: {line}", file=sys.stderr)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people. What strangers wrote (names from DICOM) is printed as plain text, never as markup.

    On a terminal long texts are folded into their column. States, numbers and times are never cut. What is piped on is
    as wide as it needs.
    """
    if not rows:
        return out.print(f"{title}: none", highlight=False, markup=False)
    shown = [[cell(fact(column, value)) for column, value in zip(columns, row, strict=True)] for row in rows]
    heads = [HEADS.get(column, column).replace("_", " ") for column in columns]
    found = column_widths(columns, heads, shown)
    table = Table(title=Text(title), title_justify="left", box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for head, width in zip(heads, found, strict=True):
        table.add_column(Text(head, style="bold"), width=width, overflow="fold")
    for row in shown:
        table.add_row(*row)
    return print_wide(table, sum(found) + (len(found) - 1) * GAP)


def column_widths(keys: Sequence[str], heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[int]:
    """Characters for each column: those of the terminal shared out, in a pipe or a file what each needs."""
    texts = [[line for row in rows for line in row[index].plain.split("\n")] for index in range(len(keys))]
    cells = [max(map(cell_len, column)) for column in texts]
    most = [max(wide, cell_len(head)) for wide, head in zip(cells, heads, strict=True)]
    least = [min(wide, LONGEST_WHOLE if is_whole(key) else LEAST_FOLDED) for key, wide in zip(keys, cells, strict=True)]
    return widths(least, most, (out.width if out.is_terminal else UNBOUNDED) - (len(keys) - 1) * GAP)


def widths(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """How wide each column is: `least`, even where the room is too small. What is left goes to the narrowest."""
    found = list(least)
    for _ in range(min(room, sum(most)) - sum(least)):
        open_columns = [index for index, width in enumerate(found) if width < most[index]]
        if not open_columns:
            break
        found[min(open_columns, key=found.__getitem__)] += 1
    return found


def print_wide(table: Table, least: int = 0) -> None:
    """Print a table of `least` characters or more: what stands in a pipe or a narrow terminal is not cut."""
    usual = out.width
    out.width = max(usual, least) if out.is_terminal else UNBOUNDED
    try:
        out.print(table, crop=False)
    finally:
        out.width = usual


def is_time(key: str) -> bool:
    return key in ("at", "since") or key.endswith("_at")


def is_whole(key: str) -> bool:
    """Whether the column is one that people search and copy: a number, a state or a time."""
    return is_time(key) or key in WHOLE


def fact(key: str, value: Any) -> Any:
    """A value as people read it: a time in UTC and beside it as the clock on the wall shows it."""
    return both_times(value, "\n" if out.is_terminal else " = ") if is_time(key) and value else value


def both_times(text: str, between: str) -> str:
    """`2026-01-31 12:00:00Z` and `13:00:00 CET`, with the day where that is another one there."""
    utc = datetime.fromisoformat(text)
    local = utc.astimezone()
    day = "" if local.date() == utc.date() else "%m-%d "
    return f"{utc:%Y-%m-%d %H:%M:%SZ}{between}{local:{day}%H:%M:%S %Z}"


def cell(value: Any) -> Text:
    """One value as text, coloured where it is a state or a flag."""
    text = "-" if value is None else str(value)
    printable = "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
    return Text(printable, style=FLAG_STYLES.get(printable, ""))


def print_facts(facts: dict[str, Any]) -> None:
    """One fact per line, for the `show` commands."""
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        shown = both_times(value, " = ") if is_time(key) and value else value
        table.add_row(Text(key, style="bold"), cell(shown))
    print_wide(table)
