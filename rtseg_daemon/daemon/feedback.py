"""The process that looks into structure sets that came back: paired, named, measured, one after the other.

Run as `python -m rtseg_daemon.daemon.feedback --config FILE` by the supervisor.
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.cluster.place import files_of
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.errors import ConfigError, RtsegError
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.feedback.loop import Loop
from rtseg_daemon.ledger.duties import OnDuty, duty_owner
from rtseg_daemon.ledger.engine import can_be_read, open_ledger
from rtseg_daemon.ledger.loss import hindrance
from rtseg_daemon.logs import configure, log

PAUSE_SECONDS = 1.0
TROUBLE_SECONDS = 10.0
"""After an error of ledger or disk. It is tried again."""


def work(config: Config, stop: threading.Event) -> None:
    """One set after the other until `stop`. Raises SQLAlchemyError where the ledger cannot be used at the start."""
    engine = open_ledger(config.database_url, existing=True)
    can_be_read(engine)
    desk = Desk(engine, config, files_of(config, engine, "feedback"))
    owner, alone = duty_owner("feedback", config.host_name), engine.dialect.name == "sqlite"
    loop = Loop(desk, compares=OnDuty(engine, "compare candidates", owner, alone=alone))
    if config.feedback.poll:
        # pynetdicom, which only a process needs that asks query peers
        from rtseg_daemon.feedback.polling import POLL, Poll

        duty = OnDuty(engine, POLL, owner, alone=alone)
        Poll(desk, stop, duty=duty).start()
    show_life(lambda: can_be_read(engine))
    while not stop.is_set():
        try:
            if not loop.turn():
                stop.wait(PAUSE_SECONDS)
        except (SQLAlchemyError, OSError) as error:
            log().error("what came back cannot be worked on now; trying again", exc_info=error)
            stop.wait(TROUBLE_SECONDS)
    loop.lay_down()
    engine.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """The process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.feedback")
    parser.add_argument("--config", type=Path, required=True)
    stop = follow_supervisor()
    try:
        config = load_config(parser.parse_args(arguments).config)
        configure(config.logging, "feedback")
        work(config, stop)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (SQLAlchemyError, RtsegError) as error:
        log().critical("cannot work on what came back", exc_info=error, reason=hindrance(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
