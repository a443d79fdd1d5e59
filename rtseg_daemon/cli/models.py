"""`rtseg-daemon models ...`: the bundles that are installed, and which of their versions serves."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.bundles import Bundle, installed_models, load_bundle, models_of
from rtseg_daemon.cli.activating import activate, rollback
from rtseg_daemon.cli.common import AsJson, ConfigFile, out, print_facts, print_json, print_table
from rtseg_daemon.cli.comparing import compare
from rtseg_daemon.config.file import load_config
from rtseg_daemon.errors import BundleError
from rtseg_daemon.upkeep.installed import in_full, installed_bundles
from rtseg_daemon.versions import Active, read_active

app = typer.Typer(help="Model bundles.\n\nExample: rtseg-daemon models list", no_args_is_help=True)
app.command()(activate)
app.command()(rollback)
app.command()(compare)

Version = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Name of the bundle.", show_default=False)]
FIGURES = {"cases": "cases", "missed": "missed", "dice": "DSC", "dice_p10": "10th pc", "hd95_mm": "95HD"}
"""Figures of an organ in the table. All of them are in `--json` and on the card."""


def models_directory(config: Path | None) -> Path:
    """Where the bundles lie: as configured, else those that came with the package."""
    return models_of(load_config(config)) if config is not None else installed_models()


@app.command("list")
def list_models(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """All bundles, each in the version that serves. One that is altered or unreadable is listed with its error.

    Example: rtseg-daemon models list
    """
    folder = models_directory(config)
    shapes = installed_bundles(folder)
    if as_json:
        return print_json(shapes)
    columns = ("name", "version", "versions", "intended_use", "members", "organs", "error")
    rows = [[told(shape.get(column)) for column in columns] for shape in shapes]
    return print_table(f"bundles in {folder}", columns, rows)


@app.command()
def show(name: Version, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One bundle: what it is for, its limits, its organs and figures, its versions and who activated them.

    Example: rtseg-daemon models show han-oar@1.4
    """
    folder = models_directory(config)
    bundle = load_bundle(folder, name)
    shape = in_full(folder, bundle)
    if as_json:
        return print_json(shape)
    print_facts({key: told(value) for key, value in shape.items() if key not in ("figures", "activations")})
    print_table("figures", ("organ", *FIGURES.values(), "REVIEW below"), list(figure_rows(bundle)))
    calibration = bundle.figures.get("calibration", {})
    print_facts({f"calibration: {key.replace('_', ' ')}": f"{value:.3g}" for key, value in calibration.items()})
    return print_table(
        "activations", ("at", "what", "version", "who", "why"), activation_rows(read_active(folder, bundle.name))
    )


def told(value: object) -> object:
    """Lists and tables of facts in words: a line for each fact of a table."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {told(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return value


def figure_rows(bundle: Bundle) -> Iterable[list[str]]:
    """An organ, how good it was measured to be, and from which predicted Dice on it is not looked at twice."""
    for organ in bundle.classes:
        found = bundle.figures.get(organ.name, {})
        shown = [f"{found[key]:.3g}" if key in found else "-" for key in FIGURES]
        if organ.calibration is None:
            limit = "always"
        else:
            limit = "-" if organ.review_below is None else f"{organ.review_below:.2f}"
        yield [organ.name, *shown, limit]


def activation_rows(active: Active) -> list[list[str]]:
    """Every decision about which version serves, oldest first."""
    return [
        [datetime.fromtimestamp(step.at, UTC).isoformat(), step.what, step.after, step.who, step.why]
        for step in active.steps
    ]


@app.command()
def verify(name: Version, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Compare every file of a bundle with its digest. Exit status 1 if one does not match.

    Example: rtseg-daemon models verify han-oar
    """
    try:
        bundle = load_bundle(models_directory(config), name)
    except BundleError as error:
        if not as_json:
            raise
        print_json({"name": name, "ok": False, "error": str(error)})
        raise typer.Exit(1) from error
    if as_json:
        print_json({"name": bundle.name, "digest": bundle.digest, "ok": True})
    else:
        out.print(f"{bundle.name} {bundle.version} is intact ({len(bundle.members)} members)", highlight=False)
