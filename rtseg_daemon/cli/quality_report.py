"""`rtseg-daemon quality report`: a month as one HTML file."""

import time
from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.bundles import digests, models_of
from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_done
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.web.pages.report import month_called, report_html


def report(
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="Which month.", show_default=False)],
    file: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="Where to write it.", show_default=False)],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """A month's figures, charts and alarms as one HTML file.

    It holds all it shows, and names no patient.

    Example: rtseg-daemon quality report --month 2026-11 --out quality-2026-11.html
    """
    try:
        period = month_called(month)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--month") from None
    ledger = open_existing(config)
    with reading(ledger.engine) as session:
        text = report_html(session, period, digests(models_of(ledger.config)), time.time())
    file.write_text(text, encoding="utf-8")
    print_done({"month": month, "path": str(file)}, f"{file}: the report of {month}", as_json)
