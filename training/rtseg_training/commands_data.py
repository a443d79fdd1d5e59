"""`rtseg-train import, template`: what makes data sets and the phantom's template."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_training.cases import load_cases, save_case, write_manifest
from rtseg_training.console import console, counted
from rtseg_training.errors import CaseError
from rtseg_training.import_folders import find_cases, import_case


def import_command(
    source: Annotated[Path, typer.Argument(help="Folder of case folders, or a tree of DICOM CTs and RTSTRUCTs.")],
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
) -> None:
    """Make a data set: rtseg-train import data/train --out sets/train"""
    out.mkdir(parents=True, exist_ok=True)
    folders = find_cases(source)
    if not folders:
        console.print(f"{source} holds no case folder (case/ct.nii.gz)", style="red", highlight=False)
        raise typer.Exit(1)
    entries, left_out = [], []
    with counted("import", len(folders)) as tick:
        for folder in folders:
            try:
                entries.append(save_case(import_case(folder), out))
            except CaseError as error:
                left_out.append(str(error))
                console.print(f"left out: {error}", style="yellow", highlight=False)
            tick(folder.name)
    write_manifest(out, entries, source.name, left_out)
    console.print(f"{len(entries)} cases imported, {len(left_out)} left out: {out}", highlight=False)
    if not entries:
        raise typer.Exit(1)


def template_command(
    data: Annotated[Path, typer.Argument(help="Training data set (rtseg-train import).")],
    out: Annotated[Path, typer.Option(help="The template file.")],
    organs: Annotated[str, typer.Option(help="Organs, separated by commas; each must be drawn in a case used.")] = "",
    count: Annotated[int, typer.Option(help="How many patients to average.")] = 28,
    rounds: Annotated[int, typer.Option(help="Deformable passes.")] = 2,
) -> None:
    """Average a population for the phantom: rtseg-train template sets/train --out rtseg_daemon/data/template.npz"""
    from rtseg_training.template import DEFAULT_ORGANS, choose_cases, make_template, save_template

    names = organs.split(",") if organs else list(DEFAULT_ORGANS)
    chosen = choose_cases(load_cases(data), names, count)
    hu, shares = make_template(chosen, names, lambda text: console.print(text, highlight=False), rounds)
    save_template(out, hu, shares, names, len(chosen))
    console.print(f"{len(chosen)} patients averaged: {out}, {out.stat().st_size / 1e6:.2f} MB")
