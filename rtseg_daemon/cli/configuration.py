"""`rtseg-daemon config check`: what a configuration says, and whether it can be meant."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, print_json, require_config
from rtseg_daemon.daemon.flagged_names import doubtful_names
from rtseg_daemon.daemon.rehearsal import rehearse, routes_of
from rtseg_daemon.daemon.startup import (
    check_certificates,
    check_cluster,
    check_directory,
    check_shadows,
    routed_bundles,
    uncalibrated,
    unknown_organs,
)
from rtseg_daemon.daemon.web_start import check_accounts, check_web
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.upkeep.channels import check as check_channels

app = typer.Typer(help="The configuration.\n\nExample: rtseg-daemon config check my.yaml", no_args_is_help=True)


@app.command("check")
def check_config(
    file: Annotated[Path | None, typer.Argument(help="The configuration file.", show_default=False)] = None,
    config: ConfigFile = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also write to the storage, and ask every destination and PACS by C-ECHO."),
    ] = False,
    series: Annotated[
        Path | None,
        typer.Option(metavar="CT_DIR", exists=True, file_okay=False, help="Say which route a CT series would take."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a configuration. Exit status 2 with key and line of every mistake in the file.

    If there is none: whether the bundles of the routes are intact and may be
    used there, whether the files of dicom.tls can be used, which organs a
    destination names that no routed bundle has, which names with flags in them
    two organs could share or would lose their side, and which organs
    have no calibration. Without --deep no other machine is asked. Exit status 1
    if something tried by --deep fails, or no route takes the series.

    Example: rtseg-daemon config check --deep config.yaml --series CT_DIR
    """
    settings = require_config(file or config)
    check_directory(settings)
    check_certificates(settings)
    check_cluster(settings)
    check_web(settings.web)
    check_accounts(settings)
    try:
        check_channels(settings.alarms)
    except ConfigError as error:  # the daemon's environment may have what this one lacks
        typer.echo(str(error), err=True)
    bundles = list(routed_bundles(settings))
    check_shadows(settings)
    for line in (*unknown_organs(settings, bundles), *doubtful_names(settings, bundles), *uncalibrated(bundles)):
        typer.echo(line, err=True)
    trials = [*(rehearse(settings) if deep else ()), *(routes_of(settings, series) if series else ())]
    if as_json:
        tried = {"checks": [vars(trial) for trial in trials]} if deep or series else {}
        print_json(settings.model_dump(mode="json") | tried)
    else:
        routes = ", ".join(route.name for route in settings.routes) or "none: nothing will be segmented"
        typer.echo(f"{file or config} is right; routes: {routes}")
        for trial in trials:
            typer.echo(f"{'ok' if trial.ok else 'FAILED'}  {trial.subject}: {trial.message}")
    raise typer.Exit(0 if all(trial.ok for trial in trials) else 1)
