"""`rtseg-train`: import data sets, train, evaluate, calibrate, export."""

import typer

from rtseg_daemon.errors import RtsegError
from rtseg_training.cli.commands_bundle import (
    audit_command,
    calibrate_command,
    evaluate_command,
    export_command,
    results_command,
)
from rtseg_training.cli.commands_data import import_command, split_command, template_command
from rtseg_training.cli.commands_train import refresh_command, score_command, train_command
from rtseg_training.cli.console import console

HELP = """From a department's contoured CTs to a bundle that the daemon loads, and how good it is.

In this order: import, split, audit, train, export, calibrate, evaluate. Each command's --help shows how it is called.

Example: rtseg-train import PLANS_DIR --out sets/ours
"""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)
app.command("import")(import_command)
app.command("split")(split_command)
app.command("audit")(audit_command)
app.command("train")(train_command)
app.command("refresh")(refresh_command)
app.command("evaluate")(evaluate_command)
app.command("score")(score_command)
app.command("calibrate")(calibrate_command)
app.command("export")(export_command)
app.command("results")(results_command)
app.command("template")(template_command)


def main() -> None:
    """Entry point. An error of ours, or of the disk, is one sentence and exit status 1."""
    try:
        app()
    except RtsegError as error:
        console.print(str(error), style="red", highlight=False)
        raise SystemExit(1) from error
    except OSError as error:
        console.print(f"{error.filename or 'a file'}: {error.strerror or error}", style="red", highlight=False)
        raise SystemExit(1) from error
