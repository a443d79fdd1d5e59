"""`rtseg-daemon models activate, rollback`: which version of a bundle serves. The daemon need not run."""

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.bundles import Bundle, load_bundle, models_of, research_fault
from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_done, who
from rtseg_daemon.cli.proving import proven
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.config.values import without_version
from rtseg_daemon.daemon.startup import uncalibrated
from rtseg_daemon.errors import BundleError, LedgerError
from rtseg_daemon.upkeep.activation import activate as activate_version
from rtseg_daemon.upkeep.activation import roll_back, step_shape, tell
from rtseg_daemon.versions import Step

BundleName = Annotated[str, typer.Argument(help="Name of the bundle.", show_default=False)]
Why = Annotated[str, typer.Option(help="The reason; stands in the events.", show_default=False)]


def activate(
    name: BundleName,
    version: Annotated[str, typer.Argument(help="A version that lies in models/NAME/VERSION.", show_default=False)],
    why: Why,
    config: ConfigFile = None,
    golden_folder: Annotated[
        Path | None, typer.Option(help="Folder of golden cases of patients; default: models.golden.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a version of a bundle serve from the next job on. The old one stays.

    First every file is compared with its digest. Where the version that serves
    has contoured live cases, the new one must have been in its shadow for
    enough of them, and no organ may be worse on approved contours. Then the
    golden cases are contoured on this machine. A version that fails is not
    activated.

    Example: rtseg-daemon models activate han-oar 2.0 --why "commissioned on 40 cases"
    """
    reason = said(why)
    settings = load_config(config) if config is not None else Config()
    models = models_of(settings)

    def check(bundle: Bundle) -> str:
        for route in settings.routes:
            if name in map(without_version, route.bundle) and (fault := research_fault(bundle, route)):
                raise BundleError(f"{fault}; it may not serve there")
        lived = proven(bundle, whole(models, name), settings) if config is not None else ""
        found = golden_cases(bundle, settings, golden_folder or settings.models.golden)
        return "; ".join(filter(None, (found, lived)))

    step = activate_version(models, name, version, who=who(), why=reason, check=check)
    tell_all(step, name, settings, config, as_json)


def rollback(name: BundleName, why: Why, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Let the version serve again that did before the present one.

    Example: rtseg-daemon models rollback han-oar --why "parotids too large since Monday"
    """
    reason = said(why)
    settings = load_config(config) if config is not None else Config()
    step = roll_back(models_of(settings), name, who=who(), why=reason)
    tell_all(step, name, settings, config, as_json)


def whole(models: Path, name: str) -> Bundle | None:
    """The bundle that serves, or None where none does, or it is damaged: no case can be contoured by it then."""
    try:
        return load_bundle(models, name)
    except BundleError:
        return None


def said(why: str) -> str:
    """The reason. An empty one is wrong usage."""
    if not why.strip():
        raise typer.BadParameter("say why", param_hint="--why")
    return why.strip()


def golden_cases(bundle: Bundle, settings: Config, folder: Path | None) -> str:
    """Contour them as a worker would. Raises BundleError where the bundle is worse than recorded."""
    # torch, and what comes with it: no other command of this group needs it
    from rtseg_daemon.demo import golden

    typer.echo(f"contouring the golden cases of {bundle.name} {bundle.version}", err=True)
    return golden.check(bundle, golden.load_segmenter(bundle, settings.compute), folder)


def tell_all(step: Step, name: str, settings: Config, config: Path | None, as_json: bool) -> None:
    """Write the event where there is a ledger, and say how things stand."""
    bundle = load_bundle(models_of(settings), name)
    routed = [one for one in settings.routes if name in map(without_version, one.bundle)]
    for line in uncalibrated([bundle]):
        typer.echo(line, err=True)
    noted = config is not None and note(config)
    if not noted:
        typer.echo("no ledger took note of it now; the daemon does when it runs", err=True)
    before = f" (before: {step.before})" if step.before else ""
    used = ", ".join(route.name for route in routed) or "none"
    print_done(
        step_shape(name, noted, step),
        f"{name} {step.after} serves{before}; golden cases: {step.golden}; routes: {used}",
        as_json,
    )


def note(config: Path) -> bool:
    """Enter what the ledger does not know. False where there is none that can be written: the daemon does it then."""
    try:
        ledger = open_existing(config)
        try:
            tell(ledger.engine, models_of(ledger.config))
        finally:
            ledger.engine.dispose()
    except (LedgerError, SQLAlchemyError):
        return False
    return True
