"""`rtseg-daemon models compare`: two bundles on the same live cases."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from rtseg_daemon.bundles import load_bundle, models_of
from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, out, print_json, print_table
from rtseg_daemon.cli.proving import comparison_of

DAY_SECONDS = 86400.0
LONGEST_DAYS = 3650
BundleOfVersion = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", show_default=False)]
COLUMNS = ("organ", "cases", "alike", "approved", "untouched", "A", "B", "B - A", "95 %", "better", "worse")


def compare(
    a: BundleOfVersion,
    b: BundleOfVersion,
    config: ConfigFile = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=LONGEST_DAYS, help="How far back; all.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="A folder for pictures of the ten cases that differ most.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Two bundles on the live cases that both have contoured, against each other
    and against approved contours, per organ and scanner.

    A is usually the one that serves, B one in its shadow. Figures are paired,
    and intervals are over patients. Pictures show the patients' CT.

    Example: rtseg-daemon models compare han-oar han-oar@2.0 --pictures DIR
    """
    ledger = open_existing(config)
    since = 0.0 if days is None else time.time() - days * DAY_SECONDS
    first, second = (load_bundle(models_of(ledger.config), name) for name in (a, b))
    shape = comparison_of(ledger.engine, ledger.config, first, second, since, pictures)
    if as_json:
        return print_json(shape)
    return print_comparison(shape)


def print_comparison(shape: dict[str, Any]) -> None:
    """The same for people."""
    names = [f"{shape[key]['bundle']} {shape[key]['version']}" for key in ("a", "b")]
    out.print(
        f"A: {names[0]}. B: {names[1]}. {shape['cases']} cases of {shape['patients']} patients, {shape['measured']} "
        f"measured, {shape['approved']} with approved contours",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    print_table("surface Dice, all scanners", COLUMNS, [row(organ) for organ in shape["organs"]])
    for scanner in shape["scanners"] if len(shape["scanners"]) > 1 else ():
        title = f"surface Dice, {scanner['scanner']}, {scanner['cases']} cases"
        print_table(title, COLUMNS, [row(organ) for organ in scanner["organs"]])
    columns = ("series", "job_a", "job_b", "organ", "surface_dsc", "hd95_mm")
    rows = [[case[column] for column in columns] for case in shape["most_different"]]
    print_table("cases that differ most", columns, rows)
    for one in shape["pictures"]:
        line = one["path"] or f"series {one['series']} is not drawn: {one['why_not']}"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def row(organ: dict[str, Any]) -> list[object]:
    """One organ, by its surface Dice."""
    approved = organ["approved"]
    gain = approved["difference"]["surface_dsc"]
    sure = "-" if gain["low"] is None else f"{gain['low']:+.3f} to {gain['high']:+.3f}"
    return [
        organ["organ"],
        organ["cases"],
        figure(organ["between"]["surface_dsc"]["mean"]),
        approved["cases"],
        approved["untouched"],
        figure(approved["a"]["surface_dsc"]["mean"]),
        figure(approved["b"]["surface_dsc"]["mean"]),
        "-" if gain["mean"] is None else f"{gain['mean']:+.3f}",
        sure,
        approved["better"],
        approved["worse"],
    ]


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
