"""How a process of this host reads stored files, by what the configuration says of hosts."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from rtseg_daemon.cluster.exchange import Exchange
from rtseg_daemon.cluster.files import HostFiles
from rtseg_daemon.cluster.shelf import Shelf
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import HostAway, HostGone, StateError
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.storage import Layout, layout_of
from rtseg_daemon.stored import Files, OwnFiles

COMMAND = "command-"
"""How the names of shelves of commands begin."""


@contextmanager
def files_of_command(config: Config, engine: Engine) -> Iterator[Files]:
    """Files for as long as one command runs. What was fetched for it goes with it."""
    process = f"{COMMAND}{os.getpid()}"
    try:
        yield files_of(config, engine, process)
    finally:
        shutil.rmtree(layout_of(config).shelves / process, ignore_errors=True)


def drop_shelves_of_commands(layout: Layout) -> None:
    """Remove what commands of this host fetched that were killed before they ended."""
    for folder in layout.shelves.glob(f"{COMMAND}*"):
        number = folder.name.removeprefix(COMMAND)
        if not (number.isdecimal() and Path(f"/proc/{number}").exists()):
            shutil.rmtree(folder, ignore_errors=True)


def files_of(config: Config, engine: Engine, process: str) -> Files:
    """Files of a host alone lie in its storage, and so do those of all hosts where they share one. Otherwise those of
    others are fetched.

    `process` names the process among those of this host: each has a shelf of its own.
    """
    layout, tls = layout_of(config), config.cluster.tls
    if tls is None:
        return OwnFiles(layout)

    shelf = Shelf(layout.shelves / process, int(config.cluster.cache_gb * 1e9))
    return HostFiles(layout, config.host_name, shelf, Exchange(tls), partial(address_of, engine))


def address_of(engine: Engine, host: str) -> str:
    """Where a host's files can be had. Raises HostGone for one that is out of the ledger, HostAway for one that serves
    none now."""
    try:
        with reading(engine) as session:
            if host not in {one.name for one in hosts.hosts(session)}:
                raise HostGone(f"host {host} is out of the ledger, and its files with it; have the series sent again")
            return hosts.address_of(session, host)
    except StateError as error:
        raise HostAway(str(error)) from error
