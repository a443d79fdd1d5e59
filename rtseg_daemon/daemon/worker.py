"""A worker's process: takes one job after the other, until told to stop.

Run as `python -m rtseg_daemon.daemon.worker --config FILE --name NAME --device DEVICE` by the supervisor.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rtseg_daemon.config.file import load_config
from rtseg_daemon.daemon.lifeline import follow_supervisor
from rtseg_daemon.logs import configure
from rtseg_daemon.work.job import Worker


def main(arguments: Sequence[str] | None = None) -> None:
    """The worker's process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.worker")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--name", default="worker-0")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    configure(config.logging, options.name)
    stop = follow_supervisor()
    Worker(config, options.name, options.device).run(stop)


if __name__ == "__main__":
    main()
