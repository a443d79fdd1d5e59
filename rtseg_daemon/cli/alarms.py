"""`rtseg-daemon alarms ...`: what people were told, who has seen it, and whether it would reach them."""

import socket
import sys
import time
from dataclasses import dataclass
from typing import Annotated

import typer

from rtseg_daemon.cli.common import (
    AsJson,
    ConfigFile,
    open_existing,
    print_done,
    print_json,
    print_table,
    require_config,
    who,
)
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.seen_alarms import acknowledge, all_alarms
from rtseg_daemon.upkeep.channels import FAILURES, AlarmChannel, channels, words

app = typer.Typer(
    help="Alarms: what people were told, and who has seen it.\n\nExample: rtseg-daemon alarms list",
    no_args_is_help=True,
)


@app.command("list")
def list_alarms(
    config: ConfigFile = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were acknowledged, and digests.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Alarms that nobody has acknowledged, newest first. Without a time of sending, a channel lacks it.

    Example: rtseg-daemon alarms list --all --limit 20
    """
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        shapes = [views.alarm_shape(alarm) for alarm in all_alarms(session, seen=everything, limit=limit)]
    if as_json:
        return print_json(shapes)
    columns = ["id", "kind", "at", "message", "sent_at", "error"]
    columns += ["acknowledged_by"] if everything else []
    return print_table("alarms", columns, [[shape[column] for column in columns] for shape in shapes])


@app.command()
def ack(
    alarm_ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers of alarms.", show_default=False)],
    why: Annotated[str, typer.Option("--why", help="What was done about it.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Note that you have seen alarms. They are not sent any more. Who and when stands in the ledger's events.

    Example: rtseg-daemon alarms ack 17 18 --why "PACS restarted"
    """
    ledger = open_existing(config)
    with writing(ledger.engine) as session:
        seen = [acknowledge(session, alarm_id, who(), why) for alarm_id in dict.fromkeys(alarm_ids)]
        shapes = [views.alarm_shape(alarm) for alarm in seen]
    print_done(shapes, f"acknowledged: {', '.join(str(shape['id']) for shape in shapes)}", as_json)


@dataclass(frozen=True)
class Tried:
    """What one channel said to a test alarm."""

    channel: str
    host: str
    ok: bool
    answer: str
    seconds: float


@app.command("test")
def try_channels(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Send a test alarm through every configured channel and say what each answered. Exit status 1 if one did not.

    Run it as the service user, who can read the mail's password file.

    Example: rtseg-daemon alarms test --json
    """
    settings = require_config(config)
    ways = channels(settings.alarms)
    alarm = Alarm(kind="test", at=time.time(), key=f"test:{time.time_ns()}", message=test_message())
    tried = [try_out(way, alarm) for way in ways.values()]
    if as_json:
        print_json([vars(one) for one in tried])
    else:
        columns = ("channel", "host", "ok", "answer", "seconds")
        print_table("channels", columns, [[vars(one)[column] for column in columns] for one in tried])
    if not ways:
        print("rtseg-daemon: alarms go to the log alone; set alarms.webhook or alarms.mail", file=sys.stderr)
    raise typer.Exit(0 if tried and all(one.ok for one in tried) else 1)


def test_message() -> str:
    return f"this is a test by {who()} on {socket.gethostname()}; nothing is wrong"


def try_out(way: AlarmChannel, alarm: Alarm) -> Tried:
    """Send one alarm by one channel."""
    began = time.perf_counter()
    try:
        ok, answer = True, way.send(alarm)
    except FAILURES as error:
        ok, answer = False, words(error)
    return Tried(way.name, way.host, ok, answer, round(time.perf_counter() - began, 3))
