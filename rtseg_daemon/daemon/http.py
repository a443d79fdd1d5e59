"""A server of HTTP in a child of the supervisor: uvicorn on an open port, until told to stop."""

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import ConfigError, RtsegError, StorageError
from rtseg_daemon.ledger.loss import hindrance
from rtseg_daemon.logs import log

TICK_SECONDS = 0.1


class Server(uvicorn.Server):
    """uvicorn without its own handling of signals: the supervisor's child has one already."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening(host: str, port: int, what: str) -> socket.socket:
    """The open port. Raises StorageError where another program has it."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise StorageError(f"{what} cannot listen on {host}:{port}: {error.strerror}") from error


async def answer(server: Server, listener: socket.socket, stop: threading.Event) -> None:
    """Answer until `stop`, then end in order."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not stop.is_set() and not serving.done():
        await asyncio.sleep(TICK_SECONDS)
    server.should_exit = True
    await serving


def exit_status(serve: Callable[[], None], trouble: str) -> int:
    """Serve, and say as a process does how it ended: 0, 2 for a mistake in the configuration, 1 with `trouble`."""
    try:
        serve()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (SQLAlchemyError, RtsegError) as error:
        reason = hindrance(error) if isinstance(error, SQLAlchemyError) else str(error)
        log().critical(trouble, exc_info=error, reason=reason)
        return 1
    return 0
