"""`rtseg-daemon serve, status, echo, doctor, config check`: the daemon as a whole."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, out, print_json, print_table, require_config
from rtseg_daemon.config.file import load_config

config_app = typer.Typer(help="The configuration.", no_args_is_help=True)


def serve(config: ConfigFile = None) -> None:
    """Run the daemon until SIGTERM.

    Example: rtseg-daemon serve --config /etc/rtseg/config.yaml
    """
    from rtseg_daemon.daemon.supervisor import serve as run

    require_config(config)
    assert config is not None
    raise typer.Exit(run(config))


def status(
    config: ConfigFile = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit status 1 unless the daemon runs and so do all its processes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Counts by state, oldest waiting, disk, processes, destinations.

    Example: rtseg-daemon status --check --json
    """
    from rtseg_daemon.ledger import views
    from rtseg_daemon.ledger.engine import reading
    from rtseg_daemon.storage import Layout, is_locked

    ledger = open_existing(config)
    layout = Layout(ledger.storage)
    with reading(ledger.engine) as session:
        shape = views.status_shape(
            session, time.time(), round(layout.free_gb(), 1), ledger.config.destination_names, is_locked(layout)
        )
    if as_json:
        print_json(shape)
    else:
        print_status(shape)
    if check and not (shape["running"] and all(process["state"] == "running" for process in shape["processes"])):
        raise typer.Exit(1)


def print_status(shape: dict[str, Any]) -> None:
    """The same for people."""
    for kind in ("jobs", "series", "deliveries"):
        print_table(kind, ("state", "count"), [item for item in shape[kind].items() if item[1]])
    columns = ("name", "up", "since", "waiting", "error")
    print_table("destinations", columns, [[d[column] for column in columns] for d in shape["destinations"]])
    facts = ("name", "pid", "state", "restarts", "since", "detail")
    print_table("processes", facts, [[process[fact] for fact in facts] for process in shape["processes"]])
    if not shape["running"]:
        out.print("the daemon is not running; start it with: rtseg-daemon serve", highlight=False)
    waiting = shape["oldest_waiting_seconds"]
    oldest = "nothing waits" if waiting is None else f"oldest waiting: {waiting:.0f} s"
    out.print(f"{oldest}; {shape['disk']['free_gb']} GB free", highlight=False)


def echo(
    destination: Annotated[str, typer.Argument(help="Name of a destination or query peer.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """C-ECHO to a configured destination, and what TLS was agreed on; exit status 1 if it does not answer success.

    Example: rtseg-daemon echo eclipse
    """
    from rtseg_daemon.dicom.association import Local, Peer, echo_and_security

    settings = require_config(config)
    known: list[Peer] = [*settings.query, *settings.destinations]
    peers = {peer.name: peer for peer in known}
    if destination not in peers:
        raise typer.BadParameter(f"no destination {destination!r}; there: {', '.join(peers) or 'none'}")
    began = time.perf_counter()
    answer, security = echo_and_security(Local(settings.dicom.ae_title, settings.dicom.tls), peers[destination])
    seconds = round(time.perf_counter() - began, 3)
    if as_json:
        print_json({"destination": destination, "status": f"0x{answer:04X}", "seconds": seconds, "tls": security})
    else:
        out.print(f"{destination} answered 0x{answer:04X} in {seconds} s; {security}", highlight=False)
    raise typer.Exit(0 if answer == 0x0000 else 1)


def doctor(
    config: ConfigFile = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Move unknown images to quarantine; delete unfinished files and results of jobs the ledger does not "
            "know (nothing younger than an hour).",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare storage and ledger; exit status 1 if something is wrong (and was not repaired).

    After an older ledger was restored, structure sets made since that backup are
    results it does not know: --repair deletes them.

    Example: rtseg-daemon doctor --repair
    """
    from rtseg_daemon.upkeep.doctor import examine

    ledger = open_existing(config)
    findings = examine(ledger.engine, ledger.config, repair=repair)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        columns = ("kind", "subject", "message", "repaired")
        print_table("findings", columns, [[vars(f)[column] for column in columns] for f in findings])
    raise typer.Exit(1 if any(not finding.repaired for finding in findings) else 0)


@config_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)], as_json: AsJson = False
) -> None:
    """Check a configuration; exit status 2 with key and line of every mistake in the file.

    If there is none: whether the bundles of the routes are intact and may be
    used there, whether the files of dicom.tls can be used, and which organs a
    destination names that no routed bundle has. No other machine is asked.

    Example: rtseg-daemon config check config.yaml
    """
    from rtseg_daemon.daemon.startup import check_certificates, routed_bundles, unknown_organs

    settings = load_config(file)
    check_certificates(settings)
    for line in unknown_organs(settings, list(routed_bundles(settings))):
        typer.echo(line, err=True)
    if as_json:
        print_json(settings.model_dump(mode="json"))
    else:
        routes = ", ".join(route.name for route in settings.routes) or "none: nothing will be segmented"
        out.print(f"{file} is right; routes: {routes}", highlight=False, markup=False)
