"""`rtseg-daemon quality`: figures over time, control charts, coverage, and the monthly report."""

import csv
import sys
import time
from typing import Annotated, Any

import typer

from rtseg_daemon.bundles import digests, models_of
from rtseg_daemon.cli.common import (
    AsJson,
    ConfigFile,
    Open,
    open_existing,
    out,
    print_json,
    print_table,
)
from rtseg_daemon.cli.later import LaterCommand, LaterGroup
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.upkeep.drift.board import charts_of
from rtseg_daemon.upkeep.drift.shape import COLUMNS, rows_of
from rtseg_daemon.upkeep.drift.streams import Wanted, read_streams
from rtseg_daemon.upkeep.quality import quality_shape

DAY_SECONDS = 86400.0
LONGEST_DAYS = 3650


class Quality(LaterGroup):
    """What `quality` has beside its figures."""

    later = (
        LaterCommand(
            "report", "rtseg_daemon.cli.quality_report:report", "A month's figures, charts and alarms as one HTML file."
        ),
        LaterCommand(
            "anew",
            "rtseg_daemon.cli.quality_anew:anew",
            "Make the limits of an organ's charts anew, from the cases that come from now on.",
        ),
    )


app = typer.Typer(cls=Quality, invoke_without_command=True)


@app.callback()
def quality(
    context: typer.Context,
    config: ConfigFile = None,
    days: Annotated[int, typer.Option("--days", min=1, max=LONGEST_DAYS, help="How far back.")] = 90,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every case of every chart as a row of CSV.")] = False,
) -> None:
    """Flags, volumes and predicted Dice per organ over time, control charts, throughput, time to delivery.

    Example: rtseg-daemon quality --days 30 --json
    """
    if context.invoked_subcommand is not None:
        return None
    if as_json and as_csv:
        raise typer.BadParameter("ask for --json or --csv, not for both")
    ledger = open_existing(config)
    now = time.time()
    if as_csv:
        return print_csv(ledger, now - days * DAY_SECONDS, now)
    with reading(ledger.engine) as session:
        shape = quality_shape(session, now - days * DAY_SECONDS, now, digests(models_of(ledger.config)))
    return print_json(shape) if as_json else print_quality(shape, days)


def print_csv(ledger: Open, since: float, until: float) -> None:
    """Every case of every chart, with the limits in force for it."""
    rows = csv.writer(sys.stdout)
    rows.writerow(COLUMNS)
    with reading(ledger.engine) as session:
        streams = read_streams(session, digests(models_of(ledger.config)), Wanted(until=until))
    for chart in charts_of(streams):
        rows.writerows(map(harmless, rows_of(chart, since, until)))


def harmless(row: list[Any]) -> list[Any]:
    """A row in which no spreadsheet takes a stranger's text, such as a scanner's name, for a formula."""
    return [f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell for cell in row]


def print_quality(shape: dict[str, Any], days: int) -> None:
    """The same for people."""
    for bundle in shape["bundles"]:
        title = f"{bundle['name']} {bundle['version'] or (bundle['digest'] or '')[:12]}, {bundle['cases']} cases"
        print_table(title, ("organ", "ok", "review", "reject", "ml", "vvc", "dice"), list(map(row, bundle["organs"])))
    print_charts(shape["charts"])
    if shape["coverage"]:
        columns = ("organ", "bundle", "version", "route", "came back", "in interval", "below", "above", "state")
        print_table("predicted Dice", columns, list(map(coverage_row, shape["coverage"])))
    jobs = sum(day["jobs"] for day in shape["throughput"])
    times = shape["delivery_seconds"]
    line = f"{jobs} jobs in {days} days"
    if times["count"]:
        line += f"; last image to delivery: median {times['median']:.0f} s, 95th percentile {times['p95']:.0f} s"
    out.print(line, highlight=False)


def print_charts(charts: list[dict[str, Any]]) -> None:
    """The charts that drift or alarmed, and how many there are."""
    told = [chart for chart in charts if chart["state"] == "drift" or chart["alarms"]]
    waiting = sum(chart["state"] == "no limits yet" for chart in charts)
    title = f"{len(charts)} charts, {waiting} of them without limits yet; drifted or told of"
    columns = ("organ", "measure", "bundle", "route", "scanner", "state", "told_at_job", "limits")
    print_table(title, columns, list(map(chart_row, told)))


def chart_row(chart: dict[str, Any]) -> list[object]:
    """Where a chart stands, at which jobs it alarmed, and what its limits are."""
    limits = chart["limits"]
    span = f"{limits['low']:g} to {limits['high']:g} {chart['unit'] or ''}" if limits else "-"
    told = ", ".join(f"{alarm['job']} {alarm['side']}" for alarm in chart["alarms"])
    named = [chart[key] for key in ("organ", "label", "bundle", "route")]
    return [*named, chart["scanner"] or "all", chart["state"], told or "-", span.strip()]


def coverage_row(found: dict[str, Any]) -> list[object]:
    shares = [f"{100 * found[key]:.0f} %" for key in ("within", "below", "above")]
    return [*(found[key] for key in ("organ", "bundle", "version", "route", "cases")), *shares, found["state"]]


def row(organ: dict[str, Any]) -> list[object]:
    """An organ's counts of flags, and the medians of its figures."""
    flags = organ["flags"]
    middles = [f"{organ[key]['median']:.2f}" if organ[key] else "-" for key in ("volume_ml", "vvc", "predicted_dice")]
    return [organ["name"], flags["OK"], flags["REVIEW"], flags["REJECT"], *middles]
