"""The dashboard's process: uvicorn on `web.host` and `web.port`, until told to stop. Its death touches nothing else.

Run as `python -m rtseg_daemon.daemon.web --config FILE` by the supervisor.
"""

import argparse
import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.config.web import Web
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.errors import ConfigError, RtsegError, StorageError
from rtseg_daemon.ledger.engine import be_impatient, can_be_read, open_ledger
from rtseg_daemon.ledger.loss import hindrance
from rtseg_daemon.logs import configure, log
from rtseg_daemon.storage import Layout
from rtseg_daemon.web.app import make_app
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.safety.connections import Bounded, BoundedByProxy, Loop
from rtseg_daemon.web.safety.transport import Renewed, web_context

PATIENCE_SECONDS = 5
"""A person waits less long for a ledger that others write than a worker does."""
KEEP_ALIVE_SECONDS = 15
GOODBYE_SECONDS = 2
TICK_SECONDS = 0.1
RENEW_SECONDS = 1.0
"""How soon a certificate that was replaced is shown."""


class Server(uvicorn.Server):
    """uvicorn without its own handling of signals: the supervisor's child has one already."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening(web: Web) -> socket.socket:
    """The open port. Raises StorageError where another program has it."""
    try:
        family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        return socket.create_server((web.host, web.port), family=family, backlog=128)
    except OSError as error:
        raise StorageError(f"the dashboard cannot listen on {web.host}:{web.port}: {error.strerror}") from error


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
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    renewing = asyncio.create_task(renew(renewed)) if renewed is not None else None
    while not stop.is_set() and not serving.done():
        await asyncio.sleep(TICK_SECONDS)
    if renewing is not None:
        renewing.cancel()
    server.should_exit = True
    await serving


async def renew(renewed: Renewed) -> None:
    """Look for a replaced certificate, again and again."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        await asyncio.to_thread(renewed.look)


def main(arguments: Sequence[str] | None = None) -> int:
    """The dashboard's process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.web")
    parser.add_argument("--config", type=Path, required=True)
    stop = follow_supervisor()
    try:
        config = load_config(parser.parse_args(arguments).config)
        configure(config.logging, "web")
        place = Place(config, Layout(config.storage.directory), opened(config))
        listener = listening(config.web)
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(serve(place, listener, stop))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (SQLAlchemyError, RtsegError) as error:
        reason = hindrance(error) if isinstance(error, SQLAlchemyError) else str(error)
        log().critical("the dashboard cannot be shown", exc_info=error, reason=reason)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
