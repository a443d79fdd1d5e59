"""`rtseg-daemon quality anew`: from now on the contours of an organ are as they should be."""

import time
from typing import Annotated

import typer

from rtseg_daemon.cli.common import AsJson, ConfigFile, open_existing, print_done, who
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.upkeep.drift.eras import Era, begin_era


def anew(
    organ: Annotated[str, typer.Argument(metavar="ORGAN", help="TG-263 name.", show_default=False)],
    bundle: Annotated[str, typer.Option("--bundle", metavar="NAME", help="Of which bundle.", show_default=False)],
    why: Annotated[str, typer.Option("--why", help="What has changed.", show_default=False)],
    route: Annotated[str, typer.Option("--route", help="Of this route alone.", show_default=False)] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the limits of an organ's charts anew, from the cases that come from now on.

    After a change that is meant to last, such as a new guideline. Who said so and why stands in the audit trail.

    Example: rtseg-daemon quality anew Parotid_L --bundle han-oar --why "new guideline"
    """
    ledger = open_existing(config)
    with writing(ledger.engine) as session:
        entered = begin_era(session, Era(time.time(), bundle, organ, route), who=who(), why=why)
    print_done(entered, f"{organ} of {bundle}: limits are made anew, after 20 cases", as_json)
