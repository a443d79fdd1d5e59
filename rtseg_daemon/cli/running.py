"""`rtseg-daemon serve, status, doctor`: the daemon as a whole."""

import sys
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, out, print_json, print_table, require_config
from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.loss import hindrance, loss
from rtseg_daemon.one_thread import one_thread
from rtseg_daemon.segment.engines.making import sentence
from rtseg_daemon.storage import is_locked, layout_of
from rtseg_daemon.upkeep.doctor import YOUNG, examine
from rtseg_daemon.upkeep.health import Observations, problems
from rtseg_daemon.upkeep.standing import standing


def serve(config: ConfigFile = None) -> None:
    """Run the daemon until SIGTERM.

    Example: rtseg-daemon serve --config /etc/rtseg/config.yaml
    """
    with one_thread():  # the supervisor's numpy; its workers get the environment as it was
        # numpy, pydicom and the scheduler: `status`, which a monitoring system asks every minute, starts without them
        from rtseg_daemon.daemon.supervisor import serve as run

    require_config(config)
    assert config is not None
    raise typer.Exit(run(config))


def status(
    config: ConfigFile = None,
    check: Annotated[
        bool, typer.Option("--check", help="Look deeper; exit status 1 if anything is wrong, each with what to do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Counts by state, oldest waiting, disk, processes, destinations, and what is wrong.

    Example: rtseg-daemon status --check --json
    """
    settings = require_config(config)
    layout = layout_of(settings)
    running = is_locked(layout)
    try:
        shape = standing(open_existing(config).engine, settings, deep=check)
    except (LedgerError, SQLAlchemyError) as error:
        if not layout.directory.is_dir():
            raise
        reason = loss(error) or hindrance(error)
        shape = {
            "running": running,
            "problems": problems(Observations(running, read_only=layout.read_only(), ledger=reason)),
        }
        tell_problems(shape, as_json)
        raise typer.Exit(1) from error
    if as_json:
        print_json(shape)
    else:
        print_status(shape)
    if check and not (shape["running"] and not shape["problems"]):
        raise typer.Exit(1)


def tell_problems(shape: dict[str, Any], as_json: bool) -> None:
    """What is wrong, where nothing else can be said."""
    if as_json:
        print_json(shape)
        return
    for problem in shape["problems"]:
        print(f"rtseg-daemon: {problem}", file=sys.stderr)


def print_status(shape: dict[str, Any]) -> None:
    """The same for people."""
    for kind in ("jobs", "series", "deliveries", *(["returned"] if any(shape["returned"].values()) else [])):
        print_table(kind, ("state", "count"), [item for item in shape[kind].items() if item[1]])
    if shape["shadow_jobs"]:
        print_table("jobs of shadows", ("state", "count"), list(shape["shadow_jobs"].items()))
    columns = ("name", "up", "since", "waiting", "error")
    print_table("destinations", columns, [[d[column] for column in columns] for d in shape["destinations"]])
    facts = ("name", "pid", "state", "restarts", "since", "detail")
    print_table("processes", facts, [[process[fact] for fact in facts] for process in shape["processes"]])
    if shape["hosts"]:
        told = ("name", "state", "version", "address", "jobs", "duties", "seen_at")
        rows = [
            [", ".join(map(str, v)) if isinstance(v := host[one], list) else v for one in told]
            for host in shape["hosts"]
        ]
        print_table("hosts", told, rows)
    if shape["cards"]:
        told = ("node", "card", "state", "since", "job", "version", "detail")
        print_table("cards in Ray", told, [[card[one] for one in told] for card in shape["cards"]])
    seen = ("calling_ae", "called_ae", "host", "count", "last_at", "reason")
    if shape["rejected_callers"]:
        rows = [[caller[fact] for fact in seen] for caller in shape["rejected_callers"]]
        print_table("callers rejected in the last 24 hours", seen, rows)
    for problem in shape["problems"]:
        out.print(problem, highlight=False, markup=False)
    for making in shape["compiling"]:
        out.print(sentence(making), highlight=False, markup=False)
    unseen, unsent = shape["unacknowledged_alarms"], shape["unsent_alarms"]
    if unseen or unsent:
        out.print(f"alarms: {unseen} not acknowledged, {unsent} not sent; rtseg-daemon alarms list", highlight=False)
    waiting = shape["oldest_waiting_seconds"]
    oldest = "nothing waits" if waiting is None else f"oldest waiting: {waiting:.0f} s"
    out.print(f"{oldest}; {shape['disk']['free_gb']} GB free", highlight=False)


def doctor(
    config: ConfigFile = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Move files that belong nowhere to quarantine, delete unfinished ones and unfinished results (nothing "
            "younger than an hour).",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare storage and ledger. Exit status 1 if something is wrong (and was not repaired).

    After an older ledger was restored, start the daemon first: it enters the images
    that this ledger does not know, and sets the results aside that it does not know.

    Example: rtseg-daemon doctor --repair
    """
    ledger = open_existing(config)
    findings = examine(ledger.engine, ledger.config, repair=repair)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        columns = ("kind", "subject", "message", "repaired")
        print_table("findings", columns, [[vars(f)[column] for column in columns] for f in findings])
    raise typer.Exit(1 if any(not finding.repaired and finding.kind != YOUNG for finding in findings) else 0)
