"""`rtseg-daemon ledger ...`: where the ledger lies."""

import sys
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, print_done, require_config
from rtseg_daemon.cli.copies import file_of
from rtseg_daemon.storage import layout_of
from rtseg_daemon.upkeep.moving import move as move_ledger

app = typer.Typer(
    help="The ledger's database.\n\nExample: rtseg-daemon ledger move --to postgresql://rtseg@db/rtseg",
    no_args_is_help=True,
)


@app.callback()
def ledger() -> None:
    """The ledger's database."""


@app.command()
def move(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="An empty PostgreSQL database.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy the ledger from its file into an empty PostgreSQL database. The daemon must be stopped.

    Every row is compared after copying, and only then is anything committed.
    The file is renamed and stays. Images and structure sets stay where they are.

    Example: rtseg-daemon ledger move --to postgresql://rtseg@db.hospital.local/rtseg
    """
    settings = require_config(config)
    file = file_of(settings)

    def tell(table: str, done: int, total: int) -> None:
        if not as_json:
            print(f"{table}: {done} of {total}", file=sys.stderr)

    done = move_ledger(file, to, layout_of(settings), tell)
    shape = {"database": done.database, "rows": done.rows, "set_aside": str(done.set_aside)}
    line = (
        f"{sum(done.rows.values())} rows are in {done.database}, each compared with the file, which is now "
        f"{done.set_aside}. Set database.url in {config} to that URL, then: rtseg-daemon config check --deep {config}"
    )
    print_done(shape, line, as_json)
