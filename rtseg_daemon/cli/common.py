"""What the commands share: options, the opened ledger, and printing."""

import contextlib
import json
import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from rtseg_daemon.bundles import models_of, readable_bundles, research_faults
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.errors import BundleError, ConfigError, LedgerError
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import database_file, open_ledger, reading
from rtseg_daemon.ledger.events import person
from rtseg_daemon.ledger.migrate import check

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


@dataclass(frozen=True)
class Open:
    """A configuration and its ledger."""

    config: Config
    engine: Engine

    @property
    def storage(self) -> Path:
        return self.config.storage.directory


def require_config(path: Path | None) -> Config:
    """The configuration; raises ConfigError if none was named."""
    if path is None:
        raise ConfigError("no configuration: say --config FILE, or set RTSEG_CONFIG")
    return load_config(path)


def refuse_research(ledger: Open, job_id: int) -> None:
    """Raise BundleError where a job's route may not send what its bundles are for; one that is gone is not asked."""
    with reading(ledger.engine) as session:
        job = views.find_job(session, job_id)
        names, route_name, no_send = job.bundle, job.route, job.no_send
    if no_send:
        return
    bundles = readable_bundles(models_of(ledger.config), names)
    for fault in research_faults(bundles, ledger.config.route_named(route_name)):
        raise BundleError(
            f"{fault}; mend the route, or `rtseg-daemon jobs rerun {job_id} --no-send` to keep the result here"
        )


def open_existing(path: Path | None) -> Open:
    """The ledger that the configuration names, which must exist with this version's schema; nothing is migrated."""
    config = require_config(path)
    file = database_file(config.database_url)
    if file is not None and not file.is_file():
        raise LedgerError(f"there is no ledger at {file}; start `rtseg-daemon serve` once")
    engine = open_ledger(config.database_url)
    check(engine)
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
    """The user id of the login that this process came from; None where there was none, or the kernel does not say."""
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
    """A table for people; what strangers wrote (names from DICOM) is printed as plain text, never as markup."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    out.print(table if rows else f"{title}: none")


def cell(value: Any) -> Text:
    """One value as text, coloured where it is a state or a flag."""
    text = "-" if value is None else str(value)
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return Text(printable, style=FLAG_STYLES.get(printable, ""))


def print_facts(facts: dict[str, Any]) -> None:
    """One fact per line, for the `show` commands."""
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(Text(key, style="bold"), cell(value))
    out.print(table)
