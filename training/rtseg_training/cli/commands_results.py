"""`rtseg-train results`: the page of what was measured."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_training.compare.curves import draw_all
from rtseg_training.compare.ensembles import load_ensembles, runs_of_ensembles
from rtseg_training.compare.methods import load_methods, method_lines, read_speeds, with_table
from rtseg_training.compare.questions import load_questions, runs_of
from rtseg_training.compare.results import Others, results
from rtseg_training.compare.shipped import recipes_in, refuse_others, runs_below
from rtseg_training.errors import ExportError
from rtseg_training.measure.evaluate import open_bundle


def results_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    runs: Annotated[Path, typer.Option(help="Folder of the members' runs.")],
    report: Annotated[Path, typer.Option(help="Folder of the calibration's report.")],
    out: Annotated[Path, typer.Option(help="The page, e.g. docs/results.md.")],
    commands: Annotated[Path | None, typer.Option(help="File of the commands that were run, for the page.")] = None,
    questions: Annotated[Path | None, typer.Option(help="Comparisons to add, e.g. training/comparisons.yaml")] = None,
    ensembles: Annotated[Path | None, typer.Option(help="Ensembles to compare, e.g. training/ensembles.yaml")] = None,
    logs: Annotated[Path, typer.Option(help="Folder of the scored runs that they name.")] = Path("training/runs"),
    other: Annotated[list[Path] | None, typer.Option(help="A further bundle to list (repeatable).")] = None,
    methods: Annotated[Path | None, typer.Option(help="Table of all methods, e.g. training/methods.yaml")] = None,
    speed: Annotated[Path | None, typer.Option(help="What bench/methods.py logged, for that table.")] = None,
    stress: Annotated[list[Path] | None, typer.Option(help="Folder that stress wrote (repeatable).")] = None,
    readme: Annotated[Path | None, typer.Option(help="A page whose table of all methods is replaced too.")] = None,
    recipes: Annotated[Path, typer.Option(help="Folder of the recipes that all runs must be of.")] = Path(
        "training/recipes"
    ),
) -> None:
    """Write down what was measured, from the logs and reports of the runs that measured it.

    Runs that another recipe made than the one in --recipes are refused. Those to be made yet are counted.

    Example: rtseg-train results models/han-oar --runs training/runs/han-oar
    --report training/runs/han-oar/report --out results.md

    For the project's own page and the table in its README: make results
    """
    for path in (runs, report / "cases.csv", report / "levels.csv"):
        if not path.exists():
            raise ExportError(f"{path} is missing; --runs and --report are what train and export or calibrate wrote")
    for folder in stress or []:
        if not (folder / "stress.md").is_file():
            raise ExportError(f"{folder / 'stress.md'} is missing; --stress is what `rtseg-train stress --out` wrote")
    asked = load_questions(questions) if questions else []
    together = load_ensembles(ensembles) if ensembles else []
    bundles = [open_bundle(folder.resolve()) for folder in other or []]
    all_runs = [*runs_below(runs), *(run for one in bundles for run in runs_below(logs / one.name))]
    all_runs += [*runs_of(asked, logs), *runs_of_ensembles(together, logs)]
    refuse_others(all_runs, recipes_in(recipes))
    others = Others(
        bundles,
        load_methods(methods) if methods else [],
        read_speeds(speed) if speed else {},
        asked,
        logs,
        draw_all(asked, logs, logs / "curves"),
        together,
    )
    told = commands.read_text(encoding="utf-8").splitlines() if commands else []
    main = open_bundle(bundle.resolve())
    pages = {out: results(main, runs, report, told, out.parent, others, stress or [])}
    if readme:
        table = method_lines(others.methods, [main, *bundles], others.speeds)
        pages[readme] = with_table(readme.read_text(encoding="utf-8"), table)
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
