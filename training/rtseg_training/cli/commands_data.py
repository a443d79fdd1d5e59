"""`rtseg-train import, template`: what makes data sets and the phantom's template."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.anatomy.called import NameTable
from rtseg_daemon.ct.series import list_series
from rtseg_training.cli.console import console, counted
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.import_dicom import ImportReport, import_tree
from rtseg_training.sets.import_folders import find_cases, import_case
from rtseg_training.sets.joined import load_cases
from rtseg_training.sets.manifest import write_manifest
from rtseg_training.sets.names import load_names
from rtseg_training.sets.template import DEFAULT_ORGANS, choose_cases, make_template, save_template


def import_command(
    source: Annotated[Path, typer.Argument(help="Folder of case folders, or a tree of DICOM CTs and structure sets.")],
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    names: Annotated[Path | None, typer.Option(help="Table of organ names, an edited copy of synonyms.yaml.")] = None,
) -> None:
    """Make a data set of contoured CTs.

    Example: rtseg-train import data/train --out sets/train
    """
    out.mkdir(parents=True, exist_ok=True)
    report = ImportReport()
    folders = find_cases(source)
    series = {} if folders else list_series(source)
    known = load_names(names)
    cases = from_folders(folders, known, report) if folders else import_tree(source, series, known, report)
    entries = []
    with counted("import", len(folders) or len(series)) as tick:
        for case in cases:
            entries.append(save_case(case, out))
            tick(case.name)
    for line in report.left_out:
        console.print(f"left out: {report.told(line)}", style="yellow", highlight=False)
    write_manifest(out, entries, report.called(source), report.left_out)
    (out / "import.md").write_text(report.markdown())
    console.print(f"{len(entries)} cases imported, {len(report.left_out)} left out: {out}/import.md", highlight=False)
    if not entries:
        raise typer.Exit(1)


def from_folders(folders: Sequence[Path], names: NameTable, report: ImportReport) -> Iterator[Case]:
    """Every case folder that can be read. The reasons of the others go into the report."""
    for folder in folders:
        try:
            yield import_case(folder, names, lambda text, case=folder.name: report.notes.append(f"{case}: {text}"))  # type: ignore[misc]
        except CaseError as error:
            report.left_out.append(str(error))


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
    chosen = choose_cases(load_cases(*data), names, count)
    hu, shares = make_template(chosen, names, lambda text: console.print(text, highlight=False), rounds)
    save_template(out, hu, shares, names, len(chosen))
    console.print(f"{len(chosen)} patients averaged: {out}, {out.stat().st_size / 1e6:.2f} MB")
