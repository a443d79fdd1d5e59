"""`rtseg-train train, refresh`: everything that changes weights."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from rtseg_training.bundle.known_cases import refuse_known_cases
from rtseg_training.bundle.refresh import comparison, recipe_of, refreshed, starts_of
from rtseg_training.cli.apart import keep_apart
from rtseg_training.cli.console import console, counted
from rtseg_training.compare.ensembles import score_ensemble
from rtseg_training.compare.score import score_run
from rtseg_training.errors import CaseError, RecipeError
from rtseg_training.learn.beforehand import check_cases, check_order, check_runs
from rtseg_training.learn.cache import ready_cases
from rtseg_training.learn.distributed import Place, here, process_group
from rtseg_training.learn.focus import with_boxes
from rtseg_training.learn.precision import multiplies_bf16
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Member, Recipe, check_member_name, load_recipe, save_recipe
from rtseg_training.learn.runlog import Progress
from rtseg_training.learn.stopping import UNFINISHED, Stop, heeding
from rtseg_training.learn.trainer import Run, network_of
from rtseg_training.measure.evaluate import evaluate, open_bundle, open_segmenter
from rtseg_training.sets.joined import called, check_drawn, independent, listed

Threads = Annotated[int, typer.Option(help="Processor threads; 0: all.")]
StopAfter = Annotated[
    str,
    typer.Option(help="Stop and save after this time: 90s, 9m or 2h, seconds without a unit; run again to go on."),
]
Workers = Annotated[int, typer.Option(help="Threads that prepare patches ahead.")]


Cache = Annotated[
    Path | None, typer.Option(help="Folder for prepared cases; left out: prepared, in each data set's folder.")
]
Makers = Annotated[int, typer.Option(min=0, help="Processes that prepare cases; 0: one a core, as memory allows.")]


def known_device(name: str) -> str:
    """`name`, if this process can train on it, else a usage error."""
    try:
        here(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return name


Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one, torchrun gives each process its own.",
        callback=known_device,
    ),
]


def prepare_all(
    folders: Sequence[Path], recipe: Recipe, cache: Path | None = None, makers: int = 0, place: Place | None = None,
    limit: int | None = None,
) -> list[TrainingCase]:  # fmt: skip
    """Every case of the data sets (the first `limit`) that the recipe does not exclude, prepared and kept on disk."""
    cases = [one for one in listed(*folders) if one.name not in recipe.exclude][:limit]
    place = place or Place()
    with counted("preparing cases", len(cases), shown=place.first) as tick:
        return ready_cases(cases, recipe, cache, makers, tick, place.rank, place.world)


def check_excluded(recipe: Recipe, folders: Sequence[Path]) -> None:
    """Raise RecipeError if the recipe excludes a case that the data sets do not have."""
    unknown = sorted(set(recipe.exclude) - {one.name for one in listed(*folders)})
    if unknown:
        raise RecipeError(
            f"recipe {recipe.name} excludes {', '.join(unknown)}, which {called(folders)} does not have: it was "
            "written for another data set; copy the recipe and replace `exclude:` by the cases that `rtseg-train "
            "audit` lists for yours and that you find wrong, or leave it out"
        )


def seconds(text: str) -> float:
    """`90`, `90s`, `9m` or `2h` in seconds, without a limit where it is empty."""
    if not text:
        return math.inf
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    try:
        return float(text[:-1]) * unit if unit else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time; write 90s, 9m or 2h") from error


def start_of(member: Member, out: Path, starts: dict[str, Path]) -> Path | None:
    """Whose weights a member starts from: a bundle's, another member's, or none."""
    if member.name in starts:
        return starts[member.name]
    return out / member.start / "checkpoint.safetensors" if member.start else None


def train_members(
    recipe: Recipe, members: Sequence[Member], out: Path, cases: list[TrainingCase], held: list[TrainingCase],
    place: Place, left: float, workers: int, starts: dict[str, Path], stop: Stop,
) -> None:  # fmt: skip
    """Train one member after the other, each to its last step. Ends with status 3 when time is up or `stop` says so."""
    if place.first and recipe.precision == "bf16" and not multiplies_bf16(place.device):
        console.print("this hardware does not multiply in bf16: the training runs in float32, which takes longer")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TextColumn("{task.fields[note]}"), console=console, disable=not place.first) as bar:
        for member in members:
            run = Run(recipe, member, out / member.name, start_of(member, out, starts), place)
            task = bar.add_task(member.name, total=run.recipe.steps, completed=run.step, note="")
            scores: dict[str, float] = {}

            def report(p: Progress, task: int = task, scores: dict[str, float] = scores) -> None:
                scores.update(p.validation)
                mean = f" validation {sum(scores.values()) / len(scores):.3f}" if scores else ""
                note = f"loss {p.loss:.3f}{mean} left {p.seconds_left / 60:.0f} min"
                bar.update(task, completed=p.step, note=note)  # type: ignore[arg-type]

            began = time.monotonic()
            if not run.train(cases, held, report, left, workers=workers, stop=stop):
                if place.first:
                    where = f"{member.name}: stopped at step {run.step} of {run.recipe.steps}, saved in {run.path}"
                    console.print(f"{where}; run the same command to go on", highlight=False, soft_wrap=True)
                raise typer.Exit(UNFINISHED)
            left -= time.monotonic() - began


def train_command(
    recipe_path: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe, e.g. training/recipes/han-oar.yaml")],
    data: Annotated[list[Path], typer.Option(help="Training data set (rtseg-train import; repeatable).")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and logs, one sub-folder per member.")],
    validation: Annotated[list[Path] | None, typer.Option(help="Validation data set (repeatable).")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Train these members only (repeatable).")] = None,
    stop_after: StopAfter = "",
    device: Device = "auto",
    workers: Workers = 1,
    threads: Threads = 0,
    cache: Cache = None,
    makers: Makers = 0,
) -> None:
    """Train a recipe's members. Run it again to go on where it stopped.

    SIGTERM, Ctrl-C and --stop-after save and end with status 3: the same command goes on.

    Example: rtseg-train train training/recipes/han-oar.yaml --data sets/train --validation sets/validation
    --out runs/han-oar

    On several GPUs: torchrun --nproc-per-node 4 -m rtseg_training train, then the same words.
    """
    recipe, limit = load_recipe(recipe_path), seconds(stop_after)
    chosen = [recipe.member(name) for name in member] if member else list(recipe.members)
    if threads:
        torch.set_num_threads(threads)
    if validation:
        keep_apart(data, validation)
    check_excluded(recipe, data)
    check_order(recipe, chosen, out)
    with process_group(here(device)) as place:
        cases = prepare_all(data, recipe, cache, makers, place)
        held = prepare_all(validation, recipe, cache, makers, place, recipe.validate_cases) if validation else []
        check_cases(recipe, cases)
        recipe = with_boxes(recipe, cases)
        for one in chosen:
            network_of(recipe.for_member(one))
        check_runs(recipe, out, cases, {})
        place.wait()  # nobody writes before all have looked
        if place.first:
            out.mkdir(parents=True, exist_ok=True)
            save_recipe(recipe, out / "recipe.yaml")
        with heeding() as stop:
            train_members(recipe, chosen, out, cases, held, place, limit, workers, {}, stop)


def refresh_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Annotated[
        list[Path], typer.Option(help="Data set of new cases (repeatable; mix in old ones, or the old is forgotten).")
    ],
    validation: Annotated[list[Path], typer.Option(help="Held-out cases for comparing old and new (repeatable).")],
    runs: Annotated[Path, typer.Option(help="Folder for checkpoints and logs.")],
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; its last part is the bundle's name.")],
    version: Annotated[str, typer.Option(help="The new bundle's version.")],
    steps: Annotated[int, typer.Option(help="Steps per member.")] = 500,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    stop_after: StopAfter = "",
    device: Device = "auto",
    workers: Workers = 1,
    threads: Threads = 0,
    cache: Cache = None,
    makers: Makers = 0,
) -> None:
    """Train a bundle's members on with new cases, and compare old and new. Calibrate the new one before its use.

    Example: rtseg-train refresh models/han-oar --data sets/new --validation sets/held-out --runs runs/refresh
    --out candidates/han-oar --version 2.0
    """
    keep_apart(data, validation)
    old = open_bundle(bundle.resolve())
    check_drawn(validation, [organ.name for organ in old.classes], f"bundle {old.name}")
    refuse_known_cases(old, listed(*validation))
    recipe, limit = recipe_of(old, steps, rate), seconds(stop_after)
    if threads:
        torch.set_num_threads(threads)
    with process_group(here(device)) as place:
        cases = prepare_all(data, recipe, cache, makers, place)
        check_cases(recipe, cases)
        check_runs(recipe, runs, cases, starts_of(old))
        with heeding() as stop:
            train_members(recipe, recipe.members, runs, cases, [], place, limit, workers, starts_of(old), stop)
        if not place.first:
            return
    new = refreshed(old, recipe, runs, out.resolve(), version, [one.entry for one in listed(*data)])
    held = listed(*validation)
    with counted("old and new", 2 * len(held)) as tick:
        results = [evaluate(open_segmenter(b, threads), independent(held), 3.0, tick) for b in (old, new)]
    report = comparison(results[0], results[1], (f"{old.name} {old.version}", f"{new.name} {new.version}"))
    (runs / "comparison.md").write_text(report)
    typer.echo(report)


def check_ensemble_name(name: str, recipe: Recipe) -> None:
    """Raise typer.BadParameter for a path, or a member's name."""
    try:
        check_member_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ensemble") from error
    if name in [one.name for one in recipe.members]:
        raise typer.BadParameter(f"{name} is a member's name; give the ensemble another", param_hint="--ensemble")


def score_command(
    recipe_path: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe whose runs are measured.")],
    runs: Annotated[Path, typer.Option(help="Folder of its runs, one sub-folder per member.")],
    data: Annotated[list[Path], typer.Option(help="Held-out data set (repeatable).")],
    member: Annotated[list[str] | None, typer.Option(help="These members only (repeatable).")] = None,
    ensemble: Annotated[str, typer.Option(help="Measure the members together, into this folder of RUNS.")] = "",
    threads: Threads = 0,
    cache: Cache = None,
    makers: Makers = 0,
) -> None:
    """Measure finished runs case by case, to compare them: each alone, or all as one ensemble.

    Example: rtseg-train score runs/comparison-organs/recipe.yaml --runs runs/comparison-organs --data sets/validation
    """
    recipe = load_recipe(recipe_path)
    if ensemble:
        check_ensemble_name(ensemble, recipe)
    if threads:
        torch.set_num_threads(threads)
    chosen = [recipe.member(name) for name in member] if member else list(recipe.members)
    cases = prepare_all(data, recipe, cache, makers)
    if not cases:
        raise CaseError(f"{called(data)} holds no case that the recipe does not exclude; nothing can be measured")
    if ensemble:
        with counted("cases", len(cases)) as tick:
            score_ensemble(recipe, chosen, runs, runs / ensemble, cases, tick)
        return
    with counted("cases", len(cases) * len(chosen)) as tick:
        for one in chosen:
            score_run(recipe, one, runs, cases, tick)
