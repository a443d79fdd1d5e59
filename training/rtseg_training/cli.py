"""`rtseg-train`: import data sets, train, evaluate, calibrate, export."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from rtseg_daemon.errors import RtsegError
from rtseg_training.cases import load_cases, save_case, write_manifest
from rtseg_training.commands_bundle import calibrate_command, evaluate_command, export_command
from rtseg_training.dataset import Prepared, prepare
from rtseg_training.errors import CaseError
from rtseg_training.import_folders import find_cases, import_case
from rtseg_training.recipe import Recipe, load_recipe
from rtseg_training.trainer import Progress, Run

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console(stderr=True)


def prepare_all(folder: Path, recipe: Recipe) -> list[Prepared]:
    """Load and prepare every case of a data set, two at a time."""
    cases = load_cases(folder)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda case: prepare(case, recipe), cases))


@app.command("import")
def import_data(
    source: Annotated[Path, typer.Argument(help="Folder of case folders (case/ct.nii.gz, case/segmentations/).")],
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
) -> None:
    """Make a data set: rtseg-train import data/train --out sets/train"""
    out.mkdir(parents=True, exist_ok=True)
    entries, left_out = [], []
    with Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console) as bar:
        folders = find_cases(source)
        task = bar.add_task("import", total=len(folders))
        for folder in folders:
            try:
                entries.append(save_case(import_case(folder), out))
            except CaseError as error:
                left_out.append(str(error))
                console.print(f"left out: {error}", style="yellow")
            bar.advance(task)
    write_manifest(out, entries, str(source.name), left_out)
    console.print(f"{len(entries)} cases imported, {len(left_out)} left out: {out}")
    if not entries:
        raise typer.Exit(1)


def seconds(text: str) -> float:
    """`90`, `90s`, `9m` or `2h` in seconds."""
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    return float(text[:-1]) * unit if unit else float(text)


@app.command()
def train(
    recipe_path: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe, e.g. training/recipes/han-oar.yaml")],
    data: Annotated[Path, typer.Option(help="Training data set (rtseg-train import).")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and logs, one sub-folder per member.")],
    validation: Annotated[Path | None, typer.Option(help="Validation data set.")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Train these members only (repeatable).")] = None,
    stop_after: Annotated[str, typer.Option(help="Stop and save after this time, e.g. 9m.")] = "",
    threads: Annotated[int, typer.Option(help="Processor threads; 0: all.")] = 0,
) -> None:
    """Train a recipe's members; run it again to go on where it stopped."""
    recipe = load_recipe(recipe_path)
    if threads:
        torch.set_num_threads(threads)
    with console.status("preparing cases"):
        cases = prepare_all(data, recipe)
        held = prepare_all(validation, recipe)[: recipe.validate_cases] if validation else []
    left = seconds(stop_after) if stop_after else math.inf
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TextColumn("{task.fields[note]}"), console=console) as bar:
        for name in member or [m.name for m in recipe.members]:
            chosen = recipe.member(name)
            start = out / chosen.start / "checkpoint.safetensors" if chosen.start else None
            run = Run(recipe, chosen, out / name, start)
            task = bar.add_task(name, total=run.recipe.steps, completed=run.step, note="")
            scores: dict[str, float] = {}

            def report(p: Progress, task: object = task, scores: dict[str, float] = scores) -> None:
                scores.update(p.validation)
                mean = f" validation {sum(scores.values()) / len(scores):.3f}" if scores else ""
                note = f"loss {p.loss:.3f}{mean} left {p.seconds_left / 60:.0f} min"
                bar.update(task, completed=p.step, note=note)  # type: ignore[arg-type]

            before = run.seconds
            finished = run.train(cases, held, report, left)
            left -= run.seconds - before
            if not finished:
                console.print(f"{name}: stopped at step {run.step}; run the same command to go on")
                return


@app.command("template")
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


app.command("export")(export_command)
app.command("calibrate")(calibrate_command)
app.command("evaluate")(evaluate_command)


def main() -> None:
    """Entry point; an error of ours is one sentence and exit status 1."""
    try:
        app()
    except RtsegError as error:
        console.print(str(error), style="red", highlight=False)
        raise SystemExit(1) from error
