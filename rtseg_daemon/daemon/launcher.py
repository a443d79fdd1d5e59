"""The process that keeps the cards in Ray at work (`compute.cluster`), until told to stop.

Run as `python -m rtseg_daemon.daemon.launcher --config FILE` by the supervisor. One of all hosts is on duty.
"""

import argparse
import threading
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.cluster.ray_line import connected
from rtseg_daemon.config.file import load_config
from rtseg_daemon.daemon.feeding import Feeding
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.errors import DutyLost
from rtseg_daemon.ledger.cards import DUTY
from rtseg_daemon.ledger.duties import OnDuty, duty_owner
from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.logs import configure, log
from rtseg_daemon.storage import layout_of

TURN_SECONDS = 1.0


def launch(feeding: Feeding, stop: threading.Event) -> None:
    """Turn after turn until stopped."""
    while not stop.is_set():
        try:
            feeding.turn()
        except (SQLAlchemyError, DutyLost) as error:
            log().error("cards in Ray cannot be looked after now; trying again", exc_info=error)
        stop.wait(TURN_SECONDS)
    try:
        feeding.stop()
    except SQLAlchemyError as error:
        log().warning("another host takes the cards in Ray over when the duty's time is out", exc_info=error)


def main(arguments: Sequence[str] | None = None) -> None:
    """The launcher's process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.launcher")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--card", required=True, help="the actor's class, MODULE:CLASS")
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    configure(config.logging, "launcher")
    stop = follow_supervisor()
    show_life(layout_of(config).free_bytes)
    duty = OnDuty(open_ledger(config.database_url, existing=True), DUTY, duty_owner("launcher", config.host_name))
    connect = partial(connected, config.compute, options.card)
    launch(Feeding(duty, config, connect, version("rtseg-daemon"), (str(options.config.absolute()),)), stop)


if __name__ == "__main__":
    main()
