"""`rtseg-train export, calibrate, evaluate`: what makes, measures and promotes bundles."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.bundles import Bundle, Golden
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_daemon.versions import ACTIVE
from rtseg_training.bundle.calibrate import NOTHING_FURTHER, Further, Result, calibrate
from rtseg_training.bundle.card import member_count
from rtseg_training.bundle.collect import collect
from rtseg_training.bundle.export import export, write_bundle
from rtseg_training.bundle.foretelling import BESIDE
from rtseg_training.bundle.golden_files import keep_golden
from rtseg_training.bundle.known_cases import refuse_known_cases, refuse_learned_cases, with_calibrated
from rtseg_training.bundle.minimum import demanded
from rtseg_training.bundle.priors import with_priors, with_rules
from rtseg_training.bundle.promote import Demands, name_for, promote, refuse_change
from rtseg_training.cli.apart import keep_apart
from rtseg_training.cli.commands_train import check_excluded
from rtseg_training.cli.console import console, counted
from rtseg_training.errors import ExportError
from rtseg_training.learn.recipe import Recipe, load_recipe
from rtseg_training.measure.audit import audit_case
from rtseg_training.measure.evaluate import evaluate, open_bundle, open_segmenter
from rtseg_training.measure.figures import write_figures
from rtseg_training.measure.tables import markdown, read_csv, summary, write_report
from rtseg_training.sets.joined import Listed, check_drawn, cut_by_import, independent, listed, loaded

Threads = Annotated[int, typer.Option(help="Processor threads; 0: all.")]
Limit = Annotated[int, typer.Option(help="Only the first N cases; 0: all.")]
Tolerance = Annotated[float, typer.Option(help="Tolerance of the surface DSC in mm.")]
Least = Annotated[
    list[str] | None,
    typer.Option(
        "--minimum",
        help="What it must reach on validation: dice=0.6, dice:ORGAN=0.5, auroc=0.6, caught=0.3 (repeatable).",
    ),
]
GoldenSet = Annotated[
    Path | None, typer.Option("--golden", help="Data set of held-out patients, to become golden cases.")
]
GoldenFolder = Annotated[
    Path | None, typer.Option(help="Folder of golden cases of patients, outside every repository.")
]


def some_cases(folders: Sequence[Path], limit: int) -> list[Listed]:
    """The cases of these data sets, the first `limit` of them where it is not 0. None is read yet.

    Says where they are not the CTs as they were received.
    """
    cases = listed(*folders)
    cases = cases[:limit] if limit else cases
    if sentence := cut_by_import(cases):
        console.print(sentence, style="yellow", highlight=False)
    return cases


def learned(cases: Sequence[Listed], recipe: Recipe) -> list[Listed]:
    """The cases that the recipe's members saw."""
    return [case for case in cases if case.name not in recipe.exclude]


def organs_of(bundle: Bundle) -> list[str]:
    """Names of what the bundle contours."""
    return [organ.name for organ in bundle.classes]


def notes_of(items: list[str]) -> dict[str, str]:
    """`key=value` as a dictionary."""
    for item in items:
        if "=" not in item:
            raise typer.BadParameter(f"{item!r} is no note; write --note key=value")
    return dict(item.split("=", 1) for item in items)


def dices_of(items: list[str]) -> dict[str, float]:
    """`ORGAN=DICE` as a dictionary. Raises typer.BadParameter for what is no Dice between 0 and 1."""
    out = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            out[name] = float(text)
        except ValueError:
            out[name] = 0.0
        if not 0 < out[name] < 1:
            raise typer.BadParameter(f"{item!r}: write --acceptable ORGAN=DICE, e.g. SpinalCord=0.6")
    return out


def calibrated(
    bundle: Bundle, validation: Sequence[Listed], report: Path, threads: int, further: Further = NOTHING_FURTHER
) -> tuple[Bundle, Segmenter]:
    """Calibrate on the cases, write the report, and return the bundle with its figures, and its segmenter."""
    segmenter = open_segmenter(bundle, threads)
    with tempfile.TemporaryDirectory(prefix="rtseg-members-") as folder:
        with counted("members", len(validation)) as tick:
            collected = collect(segmenter, [one.independent for one in validation], Path(folder), tick)
        with counted("copies", further.copies * len(validation)) as tick:
            result = calibrate(segmenter, collected, further=further, report=tick)
    write_report(report, result.evaluation, 3.0, f"{bundle.name} {bundle.version}, cross-fitted on validation")
    write_figures(report, result.evaluation)
    figured = with_figures(result, len(validation))
    console.print(markdown(result.evaluation, 3.0), highlight=False)
    console.print({k: round(v, 3) for k, v in result.figures.items()})
    bare = [organ.name for organ in figured.classes if organ.calibration is None]
    if bare:
        console.print(f"not calibrated, too few cases: {', '.join(bare)}; they carry no predicted Dice", style="yellow")
    return figured, Segmenter(figured, segmenter.engine)


def with_figures(result: Result, cases: int) -> Bundle:
    """The calibrated bundle with everything that was measured in it."""
    figures = summary(result.evaluation) | {"calibration": result.figures, "members": result.member_means}
    rounded = {name: {k: round(v, 4) for k, v in part.items()} for name, part in figures.items()}
    known = result.bundle.provenance | {"validation cases": str(cases)}
    return result.bundle.model_copy(update={"figures": rounded, "provenance": known})


def export_command(
    runs: Annotated[Path, typer.Argument(help="Folder of the members' runs (rtseg-train train --out).")],
    recipe: Annotated[Path, typer.Option(help="The recipe that trained them.")],
    members: Annotated[str, typer.Option(help="Members, separated by commas, in the bundle's order.")],
    data: Annotated[
        list[Path], typer.Option(help="Training data set: volumes and sides of the population (repeatable).")
    ],
    out: Annotated[Path, typer.Option(help="The bundle's folder, e.g. models/han-oar; its name is the bundle's.")],
    validation: Annotated[
        list[Path] | None, typer.Option(help="Validation data set; without it no calibration (repeatable).")
    ] = None,
    version: Annotated[str, typer.Option(help="The bundle's version.")] = "1.0",
    description: Annotated[str, typer.Option(help="One sentence for the card.")] = "",
    note: Annotated[list[str] | None, typer.Option(help="Provenance as key=value (repeatable).")] = None,
    intended_use: Annotated[str, typer.Option(help="evaluation, clinical or research")] = "evaluation",
    report: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    limit: Limit = 0,
    new_golden: Annotated[bool, typer.Option(help="Begin a new record of golden cases.")] = False,
    minimum: Least = None,
    golden: GoldenSet = None,
    golden_folder: GoldenFolder = None,
    best: Annotated[
        bool,
        typer.Option("--best", help="The weights that were best on the validation cases, not the last."),
    ] = False,
    threads: Threads = 0,
) -> None:
    """Make a bundle of finished members, calibrate it where there are validation cases, and promote it.

    Example: rtseg-train export runs/han-oar --recipe runs/han-oar/recipe.yaml --members slf1-a05,slf2-a05
    --data sets/train --validation sets/validation --out models/han-oar/2.0 --version 2.0 --minimum dice=0.6
    --minimum auroc=0.6 --minimum caught=0.3
    """
    plan, told = load_recipe(recipe), notes_of(note or [])
    target = out.resolve()
    refuse_change(target, version)
    check_excluded(plan, data)
    held_out = [one.entry for one in listed(*(validation or []))]
    if validation:
        keep_apart(data, validation)
        check_drawn(validation, plan.classes, f"recipe {plan.name}", limit)
    entries = [one.entry for one in listed(*data) if one.name not in plan.exclude]
    golden_apart(golden, data, validation or [])
    with tempfile.TemporaryDirectory(prefix="rtseg-export-") as place:
        staged = Path(place) / name_for(target, version)
        with console.status("reading the training set"):
            bundle = export(
                runs, plan, recipe, members.split(","), loaded(learned(listed(*data), plan)), staged, version,
                description or f"Organs at risk by recipe {plan.name}", intended_use, held_out, entries, best,
            )  # fmt: skip
        with counted("priors", len(listed(*data))) as tick:
            bundle = with_priors(with_rules(bundle, {}), loaded(learned(listed(*data), plan)), tick)
        bundle = bundle.model_copy(update={"provenance": told | bundle.provenance})
        least = demanded(minimum or [], bundle, bool(validation))
        demands = Demands(new_golden, golden_cases(bundle, golden, golden_folder), golden_folder, least)
        if validation:
            bundle = with_calibrated(bundle, held_out[:limit] if limit else held_out)
        finish(bundle, target, some_cases(validation, limit) if validation else [], report, demands, threads)


def golden_apart(golden: Path | None, learned: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Raise CaseError if a golden case, or another one of its patient, is learned or calibrated on."""
    for folders in (learned, held_out) if golden is not None else ():
        if folders and golden is not None:
            keep_apart(folders, [golden])


def golden_cases(bundle: Bundle, golden: Path | None, folder: Path | None) -> list[Golden]:
    """The cases of the data set `golden` as golden cases in `folder`. Raises ExportError where one is missing."""
    if golden is None:
        return []
    if folder is None:
        raise ExportError("--golden makes files of patients: say with --golden-folder where they shall lie")
    cases = listed(golden)
    refuse_known_cases(bundle, cases)
    return keep_golden(cases, organs_of(bundle), folder)


def finish(
    bundle: Bundle,
    out: Path,
    validation: Sequence[Listed],
    report: Path,
    demands: Demands,
    threads: int,
    further: Further = NOTHING_FURTHER,
) -> None:
    """Calibrate where there are cases, check the golden cases, and promote."""
    if validation:
        bundle, segmenter = calibrated(bundle, validation, report, threads, further)
    else:
        segmenter = open_segmenter(bundle, threads)
    with console.status("golden cases"):
        done = promote(write_bundle(bundle, bundle.folder), segmenter, out.resolve(), demands)
    size = sum(path.stat().st_size for path in out.glob("*.safetensors")) / 1e6
    console.print(f"{done.name} {done.version}: {member_count(done)}, {size:.1f} MB, digest {done.digest[:16]}")


def calibrate_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    validation: Annotated[list[Path], typer.Option(help="Validation data set, never trained on (repeatable).")],
    out: Annotated[Path | None, typer.Option(help="Folder of the calibrated bundle; left out: in place.")] = None,
    report: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("report"),
    version: Annotated[str, typer.Option(help="The calibrated bundle's version; empty: as it was.")] = "",
    acceptable: Annotated[
        list[str] | None, typer.Option(help="ORGAN=DICE: a Dice below it is not acceptable (repeatable).")
    ] = None,
    copies: Annotated[int, typer.Option(min=0, help="Faulty copies of each case, to learn failures from.")] = 4,
    beside: Annotated[
        list[Path] | None, typer.Option(help="stress.csv of members that did not learn its cases (repeatable).")
    ] = None,
    priors: Annotated[
        list[Path] | None, typer.Option(help="Data set to learn anew how organs look in the population (repeatable).")
    ] = None,
    limit: Limit = 0,
    new_golden: Annotated[bool, typer.Option(help="Begin a new record of golden cases.")] = False,
    minimum: Least = None,
    golden: GoldenSet = None,
    golden_folder: GoldenFolder = None,
    threads: Threads = 0,
) -> None:
    """Calibrate a bundle on a department's own cases. It is replaced in place, unless --out names another folder.

    Example: rtseg-train calibrate models/han-oar --validation sets/own --version 2.0 --out models/han-oar/2.0
    --minimum dice=0.6 --minimum auroc=0.6 --minimum caught=0.3
    """
    known = with_rules(open_bundle(bundle.resolve()), dices_of(acceptable or []))
    target = (out or bundle).resolve()
    number = version or known.version
    if name_for(target, number) != known.name:
        raise ExportError(
            f"{target}: a bundle's folder has its name; give one whose last part is {known.name}, or {known.name} and "
            "the version"
        )
    refuse_change(target, number)
    check_drawn(validation, organs_of(known), f"bundle {known.name}", limit)
    chosen = listed(*validation)
    refuse_learned_cases(known, chosen)
    golden_apart(golden, validation, [])
    least = demanded(minimum or [], known, measured=True)
    demands = Demands(new_golden, golden_cases(known, golden, golden_folder), golden_folder, least)
    with tempfile.TemporaryDirectory(prefix="rtseg-calibrate-") as place:
        staged = Path(place) / known.name
        shutil.copytree(known.folder, staged, ignore=other_versions)
        fresh = with_rules(open_bundle(staged), dices_of(acceptable or []))
        fresh = fresh.model_copy(update={"version": number})
        fresh = with_calibrated(fresh, [one.entry for one in (chosen[:limit] if limit else chosen)])
        if priors:
            with counted("priors", len(listed(*priors))) as tick:
                fresh = with_priors(fresh, loaded(listed(*priors)), tick)
        further = Further(copies, 0, [row | {BESIDE: 1.0} for path in beside or [] for row in read_csv(path)])
        finish(fresh, target, some_cases(validation, limit), report, demands, threads, further)


def other_versions(folder: str, names: list[str]) -> set[str]:
    """What lies in a bundle's folder and is no part of the bundle: versions beside it, and which of them serves."""
    return {name for name in names if name == ACTIVE or (Path(folder) / name).is_dir()}


def evaluate_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Annotated[list[Path], typer.Option(help="Data set with known contours (repeatable).")],
    out: Annotated[Path, typer.Option(help="Folder of the report: tables and figures.")],
    limit: Limit = 0,
    tolerance_mm: Tolerance = 3.0,
    divide: Annotated[int, typer.Option(min=1, help="Divide each pixel N x N first, as if scanned finer.")] = 1,
    threads: Threads = 0,
) -> None:
    """Measure a bundle on cases with known contours that it neither learned nor was calibrated on.

    Example: rtseg-train evaluate models/han-oar --data sets/test --out report-test
    """
    known = open_bundle(bundle.resolve())
    check_drawn(data, organs_of(known), f"bundle {known.name}", limit)
    refuse_known_cases(known, listed(*data))
    cases = some_cases(data, limit)
    segmenter = open_segmenter(known, threads)
    with counted("cases", len(cases)) as tick:
        found = evaluate(segmenter, independent(cases), tolerance_mm, tick, divide)
    title = f"{known.name} {known.version} on {' and '.join(folder.name for folder in data)}"
    write_report(out, found, tolerance_mm, title if divide == 1 else f"{title}, pixels divided {divide} x {divide}")
    write_figures(out, found)
    typer.echo(markdown(found, tolerance_mm))


def audit_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    data: Annotated[list[Path], typer.Option(help="Data set whose contours are in question (repeatable).")],
    limit: Limit = 0,
    threads: Threads = 0,
) -> None:
    """List cases whose contours do not fit their CT: to be looked at, and left out of a recipe where they are wrong.

    Example: rtseg-train audit models/han-oar --data sets/train
    """
    known = open_bundle(bundle.resolve())
    check_drawn(data, organs_of(known), f"bundle {known.name}", limit)
    cases, segmenter = some_cases(data, limit), open_segmenter(known, threads)
    listed = 0
    with counted("cases", len(cases)) as tick:
        for case in loaded(cases):
            findings = audit_case(case, segmenter.segment_volume(case.ct).organs, known.classes)
            for finding in findings:
                typer.echo(f"{finding.case}: {finding.what}")
            listed += bool(findings)
            tick(case.name)
    console.print(f"{listed} of {len(cases)} cases to look at", highlight=False)
