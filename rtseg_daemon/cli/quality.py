"""`rtseg-daemon quality`: flags, volumes and uncertainty over time, throughput, time to delivery."""

import time
from typing import Annotated, Any

import typer

from rtseg_daemon.bundles import digests, models_of
from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, out, print_json, print_table
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.upkeep.quality import quality_shape

DAY_SECONDS = 86400.0
LONGEST_DAYS = 3650


def quality(
    config: ConfigFile = None,
    days: Annotated[int, typer.Option("--days", min=1, max=LONGEST_DAYS, help="How far back.")] = 90,
    as_json: AsJson = False,
) -> None:
    """Flags, volumes and predicted Dice per organ over time, throughput, time from last image to delivery.

    Example: rtseg-daemon quality --days 30 --json
    """
    ledger = open_existing(config)
    now = time.time()
    with reading(ledger.engine) as session:
        shape = quality_shape(session, now - days * DAY_SECONDS, now, digests(models_of(ledger.config)))
    if as_json:
        print_json(shape)
    else:
        print_quality(shape, days)


def print_quality(shape: dict[str, Any], days: int) -> None:
    """The same for people."""
    for bundle in shape["bundles"]:
        title = f"{bundle['name']} {bundle['version'] or (bundle['digest'] or '')[:12]}, {bundle['cases']} cases"
        print_table(title, ("organ", "ok", "review", "reject", "ml", "vvc", "dice"), list(map(row, bundle["organs"])))
    jobs = sum(day["jobs"] for day in shape["throughput"])
    times = shape["delivery_seconds"]
    line = f"{jobs} jobs in {days} days"
    if times["count"]:
        line += f"; last image to delivery: median {times['median']:.0f} s, 95th percentile {times['p95']:.0f} s"
    out.print(line, highlight=False)


def row(organ: dict[str, Any]) -> list[object]:
    """An organ's counts of flags, and the medians of its figures."""
    flags = organ["flags"]
    middles = [f"{organ[key]['median']:.2f}" if organ[key] else "-" for key in ("volume_ml", "vvc", "predicted_dice")]
    return [organ["name"], flags["OK"], flags["REVIEW"], flags["REJECT"], *middles]
