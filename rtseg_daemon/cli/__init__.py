"""The command line: one small module per group of commands. Tables are for people, `--json` is for programs."""

import sys

import typer
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.cli import deliveries, fetching, jobs, models, running, segmenting, series
from rtseg_daemon.cli.convert import convert
from rtseg_daemon.errors import ConfigError, RtsegError
from rtseg_daemon.ledger.loss import hindrance, loss

app = typer.Typer(
    name="rtseg-daemon",
    help="Receives planning CTs, contours organs at risk with stated uncertainty, delivers RTSTRUCT.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(running.serve)
app.command()(segmenting.segment)
app.command()(segmenting.demo)
app.command()(convert)
app.command()(running.status)
app.add_typer(series.app, name="series")
app.add_typer(jobs.app, name="jobs")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(models.app, name="models")
app.add_typer(running.config_app, name="config")
app.command()(running.echo)
app.command()(running.doctor)
app.command()(fetching.fetch)


def main() -> None:
    """Run the command; exit status 0: done, 1: the thing asked for failed, 2: wrong usage or configuration."""
    try:
        app()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except RtsegError as error:
        print(f"rtseg-daemon: {error}", file=sys.stderr)
        sys.exit(1)
    except SQLAlchemyError as error:
        print(f"rtseg-daemon: the ledger cannot be used: {loss(error) or hindrance(error)}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        print(f"rtseg-daemon: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
