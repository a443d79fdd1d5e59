"""`rtseg-daemon drain HOST`: one host of several is to take no more jobs, takes jobs again, or is gone for good."""

import time
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_done, who
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.host_views import host_shape, jobs_on

LOOK_SECONDS = 1.0


def drain(
    host: Annotated[str, typer.Argument(help="Its name, as `status` shows it.")],
    why: Annotated[str, typer.Option("--why", help="Why, for the ledger's events.")],
    undo: Annotated[bool, typer.Option("--undo", help="It takes jobs again.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="It is gone for good: take it out of the ledger.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="End when the job that it is at has ended.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let one of several hosts take no more jobs.

    It goes on receiving, and ends the job that it is at.

    Example: rtseg-daemon drain ct-node-2 --why "new driver" --wait
    """
    if undo and forget:
        raise typer.BadParameter("say --undo or --forget, not both")
    ledger = open_existing(config)
    if forget:
        with writing(ledger.engine) as session:
            hosts.forget(session, host, who=who(), why=why)
        return print_done({"host": host, "forgotten": True}, f"{host} is forgotten", as_json)
    with writing(ledger.engine) as session:
        hosts.set_draining(session, host, not undo, who=who(), why=why)
    while True:
        with reading(ledger.engine) as session:
            shape = host_shape(session, hosts.find(session, host))
            running = jobs_on(session, host)
        if undo or not wait or not running:
            break
        time.sleep(LOOK_SECONDS)
    at = f", at job {', '.join(map(str, running))} still" if running else ", and is at none"
    said = f"{host} takes jobs again" if undo else f"{host} takes no more jobs{at}"
    return print_done(shape, said, as_json)
