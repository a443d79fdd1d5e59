"""`rtseg-train`: import data sets, train, evaluate, calibrate, export."""

import tempfile
import traceback

import typer

from rtseg_daemon.errors import RtsegError
from rtseg_training.cli.commands_bundle import (
    audit_command,
    calibrate_command,
    evaluate_command,
    export_command,
)
from rtseg_training.cli.commands_data import import_command, split_command, template_command
from rtseg_training.cli.commands_plan import plan_command
from rtseg_training.cli.commands_results import results_command
from rtseg_training.cli.commands_stress import stress_command
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
app.command("plan")(plan_command)
app.command("train")(train_command)
app.command("refresh")(refresh_command)
app.command("evaluate")(evaluate_command)
app.command("stress")(stress_command)
app.command("score")(score_command)
app.command("calibrate")(calibrate_command)
app.command("export")(export_command)
app.command("results")(results_command)
app.command("template")(template_command)


def main() -> None:
    """Entry point. An error is one sentence and exit status 1. What nobody foresaw leaves its details in a file."""
    try:
        app()
    except RtsegError as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(1) from error
    except OSError as error:
        console.print(
            f"{error.filename or 'a file'}: {error.strerror or error}", style="red", highlight=False, markup=False
        )
        raise SystemExit(1) from error
    except MemoryError as error:
        console.print("memory ran out; end other programs, or take smaller patches or batches", style="red")
        raise SystemExit(1) from error
    except Exception as error:
        console.print(unforeseen(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(1) from error


def unforeseen(error: Exception) -> str:
    """What went wrong in one sentence, and the file that has the rest."""
    first = str(error).strip().splitlines()[:1]
    if type(error).__name__ == "OutOfMemoryError":
        return f"the card's memory ran out ({first[0] if first else 'no details'}); take smaller patches or batches"
    with tempfile.NamedTemporaryFile("w", prefix="rtseg-train-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    said = f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
    return f"an error that nobody foresaw: {said}; report it with {file.name}, which may name your files"
