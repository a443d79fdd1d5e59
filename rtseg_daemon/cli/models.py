"""`rtseg-daemon models ...`: the bundles that are installed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rtseg_daemon.bundles import Bundle, bundle_names, installed_models, load_bundle, models_of
from rtseg_daemon.cli.common import AsJson, ConfigFile, out, print_facts, print_json, print_table
from rtseg_daemon.config.file import load_config
from rtseg_daemon.errors import BundleError

app = typer.Typer(help="Model bundles.\n\nExample: rtseg-daemon models list", no_args_is_help=True)

BundleName = Annotated[str, typer.Argument(help="Name of the bundle.", show_default=False)]


def models_directory(config: Path | None) -> Path:
    """Where the bundles lie: as configured, else those that came with the package."""
    return models_of(load_config(config)) if config is not None else installed_models()


def brief(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "intended_use": bundle.intended_use,
        "description": bundle.description,
        "organs": [organ.name for organ in bundle.classes],
        "members": len(bundle.members),
    }


@app.command("list")
def list_models(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """All bundles. One that is altered or unreadable is listed with its error.

    Example: rtseg-daemon models list
    """
    folder = models_directory(config)
    shapes: list[dict[str, Any]] = []
    for name in bundle_names(folder):
        try:
            shapes.append(brief(load_bundle(folder, name)) | {"error": None})
        except BundleError as error:
            shapes.append({"name": name, "error": str(error)})
    if as_json:
        return print_json(shapes)
    columns = ("name", "version", "intended_use", "members", "organs", "error")
    return print_table(f"bundles in {folder}", columns, [[s.get(column) for column in columns] for s in shapes])


@app.command()
def show(name: BundleName, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """One bundle: what it is for, its limits, its organs and figures.

    Example: rtseg-daemon models show han-oar
    """
    bundle = load_bundle(models_directory(config), name)
    shape = brief(bundle) | {
        "limits": bundle.limits.model_dump(mode="json"),
        "provenance": bundle.provenance,
        "figures": bundle.figures,
    }
    if as_json:
        return print_json(shape)
    print_facts({key: value for key, value in shape.items() if key != "figures"})
    rows = [[organ, *(f"{key} {value:.3g}" for key, value in found.items())] for organ, found in bundle.figures.items()]
    width = max((len(row) for row in rows), default=1)
    columns = ["", *(f"figure {number}" for number in range(1, width))]
    return print_table("figures", columns, [[*row, *[""] * (width - len(row))] for row in rows])


@app.command()
def verify(name: BundleName, config: ConfigFile = None, as_json: AsJson = False) -> None:
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
