"""The command line: one small module per group of commands. Tables are for people, `--json` is for programs."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from rtseg_daemon.cli.later import LaterCommand, LaterGroup
from rtseg_daemon.errors import ConfigError, RtsegError

HERE = "rtseg_daemon.cli"


class Commands(LaterGroup):
    """All commands, each with the first line of its own help."""

    later = (
        LaterCommand("serve", f"{HERE}.running:serve", "Run the daemon until SIGTERM."),
        LaterCommand("segment", f"{HERE}.segmenting:segment", "Contour one CT series: no network, no ledger."),
        LaterCommand(
            "demo",
            f"{HERE}.segmenting:demo",
            "A made-up patient through the real daemon, with a played PACS and planning system.",
        ),
        LaterCommand(
            "convert",
            f"{HERE}.convert:convert",
            "Turn masks into an RT Structure Set of a CT, or an RT Structure Set into masks on the CT's grid.",
        ),
        LaterCommand(
            "status",
            f"{HERE}.running:status",
            "Counts by state, oldest waiting, disk, processes, destinations, and what is wrong.",
        ),
        LaterCommand(
            "echo",
            f"{HERE}.asking:echo",
            "C-ECHO to a destination or query peer: what TLS was agreed on, or what is wrong and what to do.",
        ),
        LaterCommand(
            "doctor",
            f"{HERE}.running:doctor",
            "Compare storage and ledger. Exit status 1 if something is wrong (and was not repaired).",
        ),
        LaterCommand(
            "fetch",
            f"{HERE}.asking:fetch",
            "Ask a configured PACS to send the CT series of a study or patient to the running daemon.",
        ),
        LaterCommand("series", f"{HERE}.series:app", "Received series."),
        LaterCommand("jobs", f"{HERE}.jobs:app", "Jobs: one series, one structure set, one run each."),
        LaterCommand("deliveries", f"{HERE}.deliveries:app", "Structure sets on their way to planning systems."),
        LaterCommand(
            "backup", f"{HERE}.copies:backup", "Copy the ledger, whole and checked, also while the daemon runs."
        ),
        LaterCommand(
            "restore", f"{HERE}.copies:restore", "Put a backup in the ledger's place. The daemon must be stopped."
        ),
        LaterCommand("ledger", f"{HERE}.ledgers:app", "The ledger's database."),
        LaterCommand("alarms", f"{HERE}.alarms:app", "Alarms: what people were told, and who has seen it."),
        LaterCommand(
            "quality",
            f"{HERE}.quality:app",
            "Flags, volumes and predicted Dice per organ over time, control charts, throughput, time to delivery.",
        ),
        LaterCommand("feedback", f"{HERE}.feedback:app", "Structure sets that came back."),
        LaterCommand("models", f"{HERE}.models:app", "Model bundles."),
        LaterCommand("config", f"{HERE}.configuration:app", "The configuration."),
        LaterCommand("drain", f"{HERE}.hosts:drain", "Let one of several hosts take no more jobs."),
        LaterCommand("users", f"{HERE}.users:app", "Accounts of the dashboard."),
        LaterCommand("tokens", f"{HERE}.tokens:app", "Tokens, by which programs ask the dashboard."),
    )


def print_version(wanted: bool) -> None:
    """Print the installed package's version and end."""
    if wanted:
        print(f"rtseg-daemon {version('rtseg-daemon')}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    name="rtseg-daemon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def every_command(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Receives planning CTs, contours organs at risk with stated uncertainty, delivers RTSTRUCT.

    Example: rtseg-daemon status --config /etc/rtseg/config.yaml
    """
    # `--version` is done by its callback; without this function Typer makes no group of commands that come later


def main() -> None:
    """Run the command. Exit status 0: done, 1: the thing asked for failed, 2: wrong usage or configuration."""
    try:
        app()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except RtsegError as error:
        print(f"rtseg-daemon: {error}", file=sys.stderr)
        sys.exit(1)
    except ledger_errors() as error:
        print(f"rtseg-daemon: the ledger cannot be used: {ledger_reason(error)}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        print(f"rtseg-daemon: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)


def ledger_errors() -> tuple[type[Exception], ...]:
    """What SQLAlchemy raises, if the command has imported it: that alone takes longer than all of `--help`."""
    loaded = sys.modules.get("sqlalchemy.exc")
    return (loaded.SQLAlchemyError,) if loaded else ()


def ledger_reason(error: Exception) -> str:
    """What is wrong with the ledger, in words."""
    # SQLAlchemy, as above
    from rtseg_daemon.ledger.loss import hindrance, loss

    return loss(error) or hindrance(error)
