"""`rtseg-daemon series ...`: what was received."""

from datetime import datetime
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_facts, print_json, print_table
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.states import SeriesState

app = typer.Typer(help="Received series.\n\nExample: rtseg-daemon series list --limit 20", no_args_is_help=True)


@app.command("list")
def list_series(
    config: ConfigFile = None,
    state: Annotated[SeriesState | None, typer.Option("--state", help="Only series in this state.")] = None,
    patient: Annotated[str | None, typer.Option("--patient", help="Only series of this PatientID.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            help="Only series whose last image came then or later; local time unless it ends in a zone (+0000).",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Series, newest first, also those that no route took (UNROUTED), with the reason.

    Example: rtseg-daemon series list --state UNROUTED --since 2026-01-31 --limit 20
    """
    ledger = open_existing(config)
    wanted = views.Wanted(state, patient, since.timestamp() if since else None, limit)
    with reading(ledger.engine) as session:
        shapes = [views.series_shape(series, count) for series, count in views.all_series(session, wanted)]
    if as_json:
        return print_json(shapes)
    columns = ("id", "state", "patient_id", "modality", "description", "instance_count", "last_received_at", "reasons")
    rows = [shape | {"reasons": "; ".join(shape["reasons"]) or None} for shape in shapes]
    return print_table("series", columns, [[row[column] for column in columns] for row in rows])


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
        shape = views.series_detail(views.find_series(session, name), ledger.shown)
    if as_json:
        return print_json(shape)
    print_facts({key: value for key, value in shape.items() if key not in ("instances", "quarantined")})
    columns = ("sop_instance_uid", "sha256")
    for title in ("instances", "quarantined"):
        print_table(title, columns, [[instance[column] for column in columns] for instance in shape[title]])
    return None
