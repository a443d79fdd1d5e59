"""`rtseg-daemon backup, restore`: copies of the ledger, made and put back."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_done, require_config
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.storage import Layout, layout_of
from rtseg_daemon.upkeep.backup import back_up, copy_ledger
from rtseg_daemon.upkeep.restore import restore as restore_ledger

BY_HAND = "by-hand"


def backup(
    config: ConfigFile = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--to", help="A new file. Without: one in backup/ of the storage.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the ledger, whole and checked, also while the daemon runs.

    The daemon does so by itself at its start and every six hours. A backup that
    you ask for is kept until you delete it. It holds the ledger alone: no image
    and no structure set.

    Example: rtseg-daemon backup --out /mnt/backup/rtseg-monday.db
    """
    ledger = open_existing(config)
    database = file_of(ledger.config)
    if out is None:
        layout = Layout(ledger.storage)
        layout.create()
        target = back_up(database, layout.backup, label=BY_HAND)
    elif out.exists():
        raise LedgerError(f"{out} is there already; name a new file")
    else:
        target = out.absolute()
        copy_ledger(database, target)
    print_done({"path": str(target), "size": target.stat().st_size}, f"the ledger is copied to {target}", as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="The backup.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the ledger's place. The daemon must be stopped.

    The backup is checked first. The present ledger is kept beside it. When the
    daemon is started next, it compares storage and ledger before anything is
    contoured or sent: images that the backup does not know are entered, and
    their series are open again.

    Example: rtseg-daemon restore /var/lib/rtseg/backup/rtseg-20260131T120000.db
    """
    settings = require_config(config)
    done = restore_ledger(file, file_of(settings), layout_of(settings))
    kept = f"; the ledger before it is {done.set_aside}" if done.set_aside else ""
    shape = {
        "ledger": str(done.ledger),
        "source": str(done.source),
        "schema": done.schema,
        "set_aside": str(done.set_aside) if done.set_aside else None,
    }
    line = f"{done.source} is the ledger now{kept}. Start the daemon: it compares storage and ledger first"
    print_done(shape, line, as_json)


def file_of(settings: Config) -> Path:
    """The ledger's file. Raises LedgerError for one in another database."""
    file = database_file(settings.database_url)
    if file is None:
        raise LedgerError("the ledger lies in a database of your own (database.url): use the means of that database")
    return file
