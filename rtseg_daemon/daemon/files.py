"""The process that gives files to other hosts and takes results from them, until told to stop.

Run as `python -m rtseg_daemon.daemon.files --config FILE` by the supervisor.
"""

import argparse
import asyncio
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from rtseg_daemon.cluster.app import exchange_app
from rtseg_daemon.cluster.exchange import SECTION
from rtseg_daemon.cluster.holdings import LedgerHoldings
from rtseg_daemon.config.cluster import HostTls
from rtseg_daemon.config.file import load_config
from rtseg_daemon.daemon.http import Server, answer, exit_status, listening
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.dicom.tls import ServerTls
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.engine import can_be_read, open_ledger
from rtseg_daemon.logs import configure
from rtseg_daemon.storage import layout_of

GOODBYE_SECONDS = 5
"""For a file on its way when the daemon stops."""
KEEP_ALIVE_SECONDS = 60


def renewed(tls: HostTls) -> ssl.SSLContext:
    """The listener's context. Each handshake is made with the certificate as it is then."""
    current = ServerTls(tls, SECTION)
    context = current.current()

    def hand_over(handshake: ssl.SSLObject, _host: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = current.current()

    context.sni_callback = hand_over
    return context


def settings(holdings: LedgerHoldings, tls: HostTls) -> uvicorn.Config:
    """How uvicorn serves. Nothing is logged of a request."""
    found = uvicorn.Config(
        exchange_app(holdings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
    )
    found.load()
    found.ssl = renewed(tls)
    return found


def give(config_file: Path, stop: threading.Event) -> None:
    """Give and take files until `stop`. Raises what `exit_status` knows."""
    config = load_config(config_file)
    configure(config.logging, "files")
    tls = config.cluster.tls
    if tls is None:
        raise ConfigError("cluster.tls is not there; without certificates no host gives files to another")
    engine = open_ledger(config.database_url, existing=True)
    holdings = LedgerHoldings(engine, layout_of(config), config.host_name)
    show_life(lambda: can_be_read(engine))
    listener = listening(config.cluster.host, config.cluster.port, "the server of files")
    asyncio.run(answer(Server(settings(holdings, tls)), listener, stop))


def main(arguments: Sequence[str] | None = None) -> int:
    """The process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.files")
    parser.add_argument("--config", type=Path, required=True)
    stop = follow_supervisor()
    file = parser.parse_args(arguments).config
    return exit_status(lambda: give(file, stop), "no files can be given to other hosts")


if __name__ == "__main__":
    sys.exit(main())
