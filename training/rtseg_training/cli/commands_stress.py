"""`rtseg-train stress`: what a bundle does with faulty copies of real cases."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_training.cli.commands_bundle import Limit, Threads, organs_of, some_cases
from rtseg_training.cli.console import counted
from rtseg_training.measure.evaluate import open_bundle, open_segmenter
from rtseg_training.measure.stress import UNALTERED, Outcome, chosen_faults, faulty_copies, outcome, stress_table
from rtseg_training.measure.tables import write_csv
from rtseg_training.sets.joined import check_drawn, independent


def stress_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Annotated[list[Path], typer.Option(help="Data set with known contours (repeatable).")],
    out: Annotated[Path, typer.Option(help="Folder of the table (stress.md) and its rows (stress.csv).")],
    copies: Annotated[int, typer.Option(min=0, help="Faulty copies of each case.")] = 4,
    seed: Annotated[int, typer.Option(help="Another seed makes other copies.")] = 0,
    limit: Limit = 0,
    threads: Threads = 0,
) -> None:
    """Make faulty copies of cases (noise, streaks, cut, turned, resected and others) and see which are held or flagged.

    Example: rtseg-train stress models/han-oar --data sets/validation --copies 4 --out report-stress
    """
    known = open_bundle(bundle.resolve())
    check_drawn(data, organs_of(known), f"bundle {known.name}", limit)
    cases = some_cases(data, limit)
    segmenter = open_segmenter(known, threads)
    outcomes: list[Outcome] = []
    total = sum(1 + len(chosen_faults(number, copies)) for number in range(len(cases)))
    with counted("copies", total) as tick:
        for number, case in enumerate(independent(cases)):
            for copy, fault in [(case, UNALTERED), *faulty_copies(case, number, copies, seed)]:
                outcomes.append(outcome(copy, fault, known, lambda one: segmenter.segment_volume(one.ct)))
                tick(copy.name)
    out.mkdir(parents=True, exist_ok=True)
    table = stress_table(outcomes, known)
    (out / "stress.md").write_text(f"{known.name} {known.version}, seed {seed}\n\n{table}\n")
    write_csv(out / "stress.csv", [row | {"held": one.held} for one in outcomes for row in one.rows])
    typer.echo(table)
