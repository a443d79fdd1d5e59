"""`rtseg-daemon deliveries ...`: what went where."""

from typing import Annotated

import typer

from rtseg_daemon.cli.common import (
    AsJson,
    ConfigFile,
    open_existing,
    print_done,
    print_json,
    print_table,
    who,
)
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.states import DeliveryState
from rtseg_daemon.upkeep import deciding

app = typer.Typer(
    help="Structure sets on their way to planning systems.\n\nExample: rtseg-daemon deliveries list --state WAITING",
    no_args_is_help=True,
)


@app.command("list")
def list_deliveries(
    config: ConfigFile = None,
    state: Annotated[DeliveryState | None, typer.Option("--state", help="Only deliveries in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """All deliveries, newest first, with the next attempt's time and the last answer.

    Example: rtseg-daemon deliveries list --state WAITING
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = [views.delivery_shape(delivery) for delivery in views.all_deliveries(session, state)]
    if as_json:
        return print_json(shapes)
    columns = ("id", "job", "destination", "state", "attempts", "next_attempt_at", "last_status", "last_comment")
    return print_table("deliveries", columns, [[shape[column] for column in columns] for shape in shapes])


@app.command()
def retry(
    delivery_id: Annotated[int, typer.Argument(help="Number of the delivery.", show_default=False)],
    config: ConfigFile = None,
    why: Annotated[str, typer.Option(help="The reason, for the events.")] = "",
    as_json: AsJson = False,
) -> None:
    """Send again now what failed, or what waits for its next attempt.

    Example: rtseg-daemon deliveries retry 12
    """
    ledger = open_existing(config)
    shape = deciding.retry_delivery(deciding.Desk(ledger.engine, ledger.config, who()), delivery_id, why)
    print_done(shape, f"delivery {delivery_id} is {shape['state']}", as_json)
