"""The dashboard's process: uvicorn on `web.host` and `web.port`, until told to stop. Its death touches nothing else.

Run as `python -m rtseg_daemon.daemon.web --config FILE` by the supervisor.
"""

import argparse
import asyncio
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from sqlalchemy import Engine

from rtseg_daemon.cluster.place import files_of
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.http import Server, answer, exit_status, listening
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.ledger.engine import be_impatient, can_be_read, open_ledger
from rtseg_daemon.logs import configure
from rtseg_daemon.storage import layout_of
from rtseg_daemon.web.app import make_app
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.safety.connections import Bounded, BoundedByProxy, Loop
from rtseg_daemon.web.safety.transport import Renewed, web_context

PATIENCE_SECONDS = 5
"""A person waits less long for a ledger that others write than a worker does."""
KEEP_ALIVE_SECONDS = 15
GOODBYE_SECONDS = 2
RENEW_SECONDS = 1.0
"""How soon a certificate that was replaced is shown."""


def opened(config: Config) -> Engine:
    """The ledger, with less patience."""
    engine = open_ledger(config.database_url, existing=True)
    be_impatient(engine, PATIENCE_SECONDS)
    return engine


def settings(place: Place) -> uvicorn.Config:
    """How uvicorn serves: nothing is logged of a request, since addresses of pages can name a patient's series."""
    web = place.config.web
    found = uvicorn.Config(
        make_app(place),
        http=BoundedByProxy if web.proxies else Bounded,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
        h11_max_incomplete_event_size=32_768,
        backlog=128,
    )
    found.load()
    if web.tls is not None:
        found.ssl = web_context(web.tls)
    return found


async def serve(place: Place, listener: socket.socket, stop: threading.Event) -> None:
    """Answer until `stop`. Shows the supervisor that the loop turns and the ledger can be read."""
    configured = settings(place)
    server, tls = Server(configured), place.config.web.tls
    renewed = Renewed(tls, configured.ssl) if tls is not None and configured.ssl is not None else None
    loop = asyncio.get_running_loop()

    def works() -> None:
        can_be_read(place.engine)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()

    show_life(works)
    renewing = asyncio.create_task(renew(renewed)) if renewed is not None else None
    try:
        await answer(server, listener, stop)
    finally:
        if renewing is not None:
            renewing.cancel()


async def renew(renewed: Renewed) -> None:
    """Look for a replaced certificate, again and again."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        await asyncio.to_thread(renewed.look)


def show(config_file: Path, stop: threading.Event) -> None:
    """Show the dashboard until `stop`. Raises what `exit_status` knows."""
    config = load_config(config_file)
    configure(config.logging, "web")
    engine = opened(config)
    place = Place(
        config,
        layout_of(config),
        engine,
        other_files=files_of(config, engine, "web"),
    )
    listener = listening(config.web.host, config.web.port, "the dashboard")
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(serve(place, listener, stop))


def main(arguments: Sequence[str] | None = None) -> int:
    """The dashboard's process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.web")
    parser.add_argument("--config", type=Path, required=True)
    stop = follow_supervisor()
    file = parser.parse_args(arguments).config
    return exit_status(lambda: show(file, stop), "the dashboard cannot be shown")


if __name__ == "__main__":
    sys.exit(main())
