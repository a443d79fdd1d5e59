"""`rtseg-daemon segment` and `rtseg-daemon demo`: contours without a network around them, and with a played one."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rtseg_daemon.bundles import bundles_for
from rtseg_daemon.cli.common import AsJson, ConfigFile, out, print_json, print_table
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.ct.series import list_series
from rtseg_daemon.errors import BundleError, SeriesError, StorageError
from rtseg_daemon.logs import configure
from rtseg_daemon.work import case

DEFAULT_BUNDLE = "han-oar"

CtFolder = Annotated[
    Path,
    typer.Argument(metavar="CT_DIR", exists=True, file_okay=False, help="Folder of the CT series.", show_default=False),
]


def segment(
    ct: CtFolder,
    to: Annotated[Path, typer.Option("--out", help="The RTSTRUCT to write.", show_default=False)],
    bundle: Annotated[str, typer.Option(help="Name of the bundle, or of several: han-oar+han-gtv.")] = DEFAULT_BUNDLE,
    series: Annotated[str | None, typer.Option("--series", help="SeriesInstanceUID, where there are several.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Go on where a gate holds that a person may release.")] = False,
    rings: Annotated[
        bool,
        typer.Option("--rings", help="Add for each organ an ROI (zParotid_L, CONTROL) where members disagree."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Also draw the page to review the contours by.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Contour one CT series: no network, no ledger.

    Where a gate holds it, exit status 1 and nothing is written. --force goes on
    where a person might release it. It cannot where the images are not one even
    volume of one patient (a slice is missing, say), or where the written file
    does not read back as the organs. --picture draws what was found also where
    the result is held.

    Example: rtseg-daemon segment CT_DIR --out rs.dcm --json
    """
    settings = load_config(config) if config is not None else Config()
    configure(settings.logging, "segment")
    try:
        result = run_case(choose_series(ct, series), to, settings, bundle, force, rings)
    except SeriesError as error:
        if not as_json:
            raise
        gate = {"verdict": "hold", "reasons": [str(error)]}
        print_json({"rtstruct": None, "rois": [], "gate": gate, "seconds": {}})
        raise typer.Exit(1) from error
    written = not result.held
    if picture is not None and result.dataset is not None:
        draw(result, picture)
    if as_json:
        print_json(shape(result, to if written else None))
    else:
        show(result, to if written else None)
    if not written:
        raise typer.Exit(1)


def choose_series(folder: Path, wanted: str | None) -> list[Path]:
    """The files of the one CT series below `folder`, or of the `wanted` one. Several and no choice is wrong usage."""
    found = list_series(folder)
    if not found:
        raise SeriesError(f"there is no CT series in {folder}")
    if wanted is not None and wanted not in found:
        raise typer.BadParameter(f"no series {wanted} in {folder}; there: {', '.join(found)}", param_hint="--series")
    if wanted is None and len(found) > 1:
        listing = "\n".join(f"  {uid} ({len(paths)} images)" for uid, paths in found.items())
        raise typer.BadParameter(
            f"several CT series in {folder}; choose one with --series:\n{listing}", param_hint="CT_DIR"
        )
    return found[wanted if wanted is not None else next(iter(found))]


def run_case(paths: list[Path], to: Path, settings: Config, bundle: str, force: bool, rings: bool) -> case.CaseResult:
    """Segment and, unless a gate holds it, write `to`. The file is checked before it gets its name."""
    bundles = bundles_for(settings, bundle)
    options = case.Options(forced=force, rings=rings)
    with Console(stderr=True).status("reading the series") as progress:
        result = case.process_case(
            paths,
            bundles,
            lambda one: case.load_segmenter(one, settings.compute, user_cache()),
            options,
            lambda stage: progress.update(stage),
        )
    if result.held or result.dataset is None:
        return result
    draft = to.with_name(f".{to.name}.unchecked")
    try:
        case.write_case(result, draft)
        result = case.checked(result, draft, options)
        if not result.held:
            draft.replace(to)
    except OSError as error:
        raise StorageError(f"{to} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return result


def draw(result: case.CaseResult, to: Path) -> None:
    """The page to review the case by. Raises StorageError where it cannot be written."""
    # matplotlib: only this option needs it
    from rtseg_daemon.work.picture import save_picture

    try:
        save_picture(result, to, mode=0o666)
    except OSError as error:
        raise StorageError(f"{to} cannot be written: {error.strerror}") from error


def user_cache() -> Path:
    """Where compiled models are kept between calls: the user's cache folder (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rtseg-daemon"


def shape(result: case.CaseResult, path: Path | None) -> dict[str, Any]:
    """What `segment --json` prints."""
    return {
        "rtstruct": str(path.absolute()) if path else None,
        "rois": result.rois,
        "gate": {"verdict": "hold" if result.held else result.verdict, "reasons": result.reasons},
        "seconds": result.seconds,
    }


def show(result: case.CaseResult, path: Path | None) -> None:
    """The result for people."""
    rows = [[r["name"], r["flag"], f"{r['volume_ml']:.1f}", r["comment"]] for r in result.rois]
    if rows:
        print_table("organs", ("organ", "flag", "ml", "comment"), rows)
    for reason in result.reasons:
        out.print(f"{'held' if result.held else 'note'}: {reason}", style="yellow", highlight=False, markup=False)
    if path is not None:
        out.print(f"written: {path}", highlight=False, markup=False)
    else:
        out.print("nothing written; --force goes on where a gate may be released", highlight=False)


def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for everything the demo leaves.")] = Path("demo-out"),
    stay: Annotated[
        bool, typer.Option("--open", help="Leave the daemon running until Ctrl-C, and print a link to its dashboard.")
    ] = False,
    constancy: Annotated[
        bool, typer.Option("--constancy", help="Check the installed bundle by the phantom, without daemon or network.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="With --constancy: what is found becomes the reference.")
    ] = False,
    reference: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --constancy: where references lie.", show_default=False)
    ] = None,
    bundle: Annotated[str, typer.Option(help="With --constancy: the bundle.")] = DEFAULT_BUNDLE,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """A made-up patient through the real daemon, with a played PACS and planning system.

    With --constancy the daily check instead: the phantom's contours, volumes,
    centres, HU and times against what was recorded of this version of the bundle,
    then sides, an organ that is not there and a wrong region. Exit status 1 with
    organ and figure if one is out of tolerance.

    Example: rtseg-daemon demo --constancy --config /etc/rtseg/config.yaml
    """
    if constancy:
        return check_constancy(bundle, reference or user_references(), record, config, as_json)
    if record or reference is not None:
        raise typer.BadParameter("goes with --constancy", param_hint="--record or --reference")
    try:
        # matplotlib and pynetdicom: only the demo needs them, and says so where one is missing
        from rtseg_daemon.demo.play import run_demo
    except ImportError as error:
        raise BundleError(f"the demo needs all of the package's dependencies: {error}") from error
    return run_demo(to, out, stay=stay)


def user_references() -> Path:
    """Where references of the constancy check are kept: the user's data folder (XDG base directory specification)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "rtseg-daemon" / "constancy"


def check_constancy(bundle: str, references: Path, record: bool, config: Path | None, as_json: bool) -> None:
    """The daily check. Exit status 1 if something is out of tolerance."""
    # the phantom and its networks: `segment` needs none of it
    from rtseg_daemon.demo.daily import Day, check_day

    settings = load_config(config) if config is not None else Config()
    configure(settings.logging, "constancy")
    one, *more = bundles_for(settings, bundle)
    if more:
        raise typer.BadParameter("one bundle at a time", param_hint="--bundle")
    with Console(stderr=True).status("a phantom goes through the bundle"):
        checks = check_day(Day(one, settings.compute, user_cache(), references, record))
    ok = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [vars(check) for check in checks]})
    else:
        for check in checks:
            typer.echo(f"{'ok' if check.ok else 'FAILED'}  {check.subject}: {check.message}")
    raise typer.Exit(0 if ok else 1)
