"""`rtseg-train import, split, template`: what makes data sets and the phantom's template."""

import itertools
from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.ct.series import list_series
from rtseg_training.cli.console import console, counted
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import body_alone
from rtseg_training.sets.import_dicom import tree_sources
from rtseg_training.sets.import_folders import find_cases, folder_sources
from rtseg_training.sets.importing import REPORT, Counts, OpenSet, import_into
from rtseg_training.sets.joined import called, listed, loaded
from rtseg_training.sets.key_file import NAME, open_key, persons
from rtseg_training.sets.manifest import key_of_set
from rtseg_training.sets.names import load_names
from rtseg_training.sets.report import ImportReport
from rtseg_training.sets.source import Rules, folders_in, given_patients, refuse_storage
from rtseg_training.sets.split import cases_to_split, parts_of, write_parts
from rtseg_training.sets.template import DEFAULT_ORGANS, choose_cases, make_template, save_template


def import_command(
    source: Annotated[Path, typer.Argument(help="Folder of case folders, or a tree of DICOM CTs and structure sets.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set. One that is there is added to.")],
    names: Annotated[Path | None, typer.Option(help="Table of organ names, an edited copy of synonyms.yaml.")] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Private key file of the department; left out: patients.key beside the data set."),
    ] = None,
    any_status: Annotated[
        bool,
        typer.Option("--any-status", help="Take contours of programs too that nobody approved. REJECTED ones never."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the new images and contours of cases that are in the set already.")
    ] = False,
) -> None:
    """Make a data set of contoured CTs, or add to one. What was interrupted goes on with the same command.

    Example: rtseg-train import data/train --out sets/train
    """
    if not source.is_dir():
        raise CaseError(f"{source} is no folder; give the folder that the planning system exported to")
    refuse_storage(source, folders_in(source))
    rules, report = Rules(load_names(names), any_status), ImportReport()
    whose = open_key(key or out.resolve().parent / NAME)
    target = OpenSet(out, whose, report.called(source), report, rules.names)
    with console.status("looking through the archive"):
        folders, series, given = find_cases(source), list_series(source), given_patients(source)
    both = itertools.chain(
        folder_sources(folders, rules, report, given),
        tree_sources(source, series, rules, report, persons(whose), given),
    )
    try:
        with counted("import", len(folders) + len(series)) as tick:
            counts = import_into(target, both, replace, tick)
    finally:
        tell(report, rules)
    summary(counts, report, out)
    if not target.entries:
        raise typer.Exit(1)


def tell(report: ImportReport, rules: Rules) -> None:
    """What a person at the screen should know of an import."""
    for line in report.left_out:
        console.print(f"left out: {report.told(line)}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    for name in sorted(report.unmapped):
        if near := rules.names.suggest(name):
            console.print(f"not mapped: {name!r}, perhaps {near}", highlight=False, markup=False, soft_wrap=True)
    if report.unapproved:
        console.print(
            f"{len(report.unapproved)} cases have no approved set: their contours come from sets that nobody approved",
            style="yellow",
            highlight=False,
        )


def summary(counts: Counts, report: ImportReport, out: Path) -> None:
    """One line about all cases."""
    parts = [f"{counts.added} cases imported"]
    parts += [f"{counts.replaced} replaced"] if counts.replaced else []
    parts += [f"{counts.kept} in the set already"] if counts.kept else []
    console.print(f"{', '.join(parts)}, {len(report.left_out)} left out: {out}/{REPORT}", highlight=False, markup=False)


def split_command(
    data: Annotated[list[Path], typer.Argument(metavar="SET...", help="Data sets (rtseg-train import).")],
    folds: Annotated[int, typer.Option(help="Divide into this many folds, each with its train and validation.")] = 0,
    held_out: Annotated[float, typer.Option(help="Hold out this share of the patients, such as 0.2.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Folder of the parts; left out: SET-split beside the set.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed divides otherwise.")] = 0,
    steady: Annotated[
        bool, typer.Option("--steady", help="For a set that grows: nobody who is held out is ever learned later.")
    ] = False,
) -> None:
    """Divide data sets by their patients: all CTs of one patient lie on one side. Nothing is copied.

    Example: rtseg-train split sets/all --held-out 0.2
    """
    if bool(folds) == bool(held_out):
        raise typer.BadParameter("give --folds N or --held-out SHARE")
    cases = cases_to_split(data)
    parts = parts_of(cases, folds, held_out, seed, steady)
    place = out or data[0].resolve().parent / f"{data[0].resolve().name}-split"
    write_parts(place, parts, f"{called(data)}, seed {seed}", key_of_set(data[0]))
    for name, part in parts.items():
        typer.echo(f"{place / name}: {len(part)} cases of {len({one.patient for one in part})} patients")


def template_command(
    data: Annotated[list[Path], typer.Argument(help="Training data sets (rtseg-train import).")],
    out: Annotated[Path, typer.Option(help="The template file.")],
    organs: Annotated[str, typer.Option(help="Organs, separated by commas; each must be drawn in a case used.")] = "",
    count: Annotated[int, typer.Option(help="How many patients to average.")] = 28,
    rounds: Annotated[int, typer.Option(help="Deformable passes.")] = 2,
) -> None:
    """Average a population for the phantom.

    Example: rtseg-train template sets/train --out rtseg_daemon/demo/data/template.npz
    """
    names = organs.split(",") if organs else list(DEFAULT_ORGANS)
    chosen = choose_cases([body_alone(case) for case in loaded(listed(*data))], names, count)
    hu, shares = make_template(chosen, names, lambda text: console.print(text, highlight=False), rounds)
    save_template(out, hu, shares, names, len(chosen))
    console.print(f"{len(chosen)} patients averaged: {out}, {out.stat().st_size / 1e6:.2f} MB")
