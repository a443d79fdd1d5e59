"""`rtseg-daemon series ...`: what was received."""

from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_facts, print_json, print_table
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading

app = typer.Typer(help="Received series.", no_args_is_help=True)


@app.command("list")
def list_series(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """All series, newest first; also those that no route took (UNROUTED), with the reason.

    Example: rtseg-daemon series list --json
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = [views.series_shape(series, count) for series, count in views.all_series(session)]
    if as_json:
        return print_json(shapes)
    columns = ("id", "state", "patient_id", "modality", "description", "instance_count", "last_received_at", "reasons")
    return print_table("series", columns, [[shape[column] for column in columns] for shape in shapes])


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="Number or SeriesInstanceUID.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """One series with its instances and jobs.

    Example: rtseg-daemon series show 4
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shape = views.series_detail(views.find_series(session, name), ledger.storage)
    if as_json:
        return print_json(shape)
    print_facts({key: value for key, value in shape.items() if key not in ("instances", "quarantined")})
    columns = ("sop_instance_uid", "sha256")
    for title in ("instances", "quarantined"):
        print_table(title, columns, [[instance[column] for column in columns] for instance in shape[title]])
    return None
