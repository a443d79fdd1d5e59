"""Whoever waits for work is woken by the commit that brings it, where the database can tell (PostgreSQL).

A message goes out with the commit and never without it. It may be lost with a connection, so waiting ends after a while
in any case. With SQLite that while is short, and all there is.
"""

import contextlib
import threading
import time
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger import postgresql

JOBS = "rtseg_jobs"
DELIVERIES = "rtseg_deliveries"
SLICE_SECONDS = 0.25
"""How soon a wait ends that is to be given up."""
RECONNECT_SECONDS = 5.0


def tell(session: Session, channel: str) -> None:
    """Wake whoever waits there, once this transaction is committed."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(channel, "")))


class Bell:
    """What one thread waits by. It keeps a connection of its own, and does without where there is none."""

    def __init__(self, engine: Engine, channel: str) -> None:
        self.engine = engine
        self.channel = channel
        self.rings = engine.dialect.name == "postgresql"
        self.connection: Any = None
        self.tried_at = float("-inf")

    def wait(self, stop: threading.Event, polling_seconds: float, longest_seconds: float) -> None:
        """Until it rings, `stop` is set, or `longest_seconds` are over. `polling_seconds` where it cannot ring."""
        if not self._listens():
            stop.wait(polling_seconds)
            return
        end = time.monotonic() + longest_seconds
        try:
            while not stop.is_set() and (left := end - time.monotonic()) > 0:
                for _ in self.connection.notifies(timeout=min(left, SLICE_SECONDS), stop_after=1):
                    return
        except self.engine.dialect.loaded_dbapi.Error:
            self.close()

    def close(self) -> None:
        """Give the connection up. The next wait makes another one."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(self.engine.dialect.loaded_dbapi.Error):
                connection.close()

    def _listens(self) -> bool:
        if not self.rings or self.connection is not None:
            return self.connection is not None
        if time.monotonic() - self.tried_at < RECONNECT_SECONDS:
            return False
        self.tried_at = time.monotonic()
        try:
            self.connection = self._connect()
        except self.engine.dialect.loaded_dbapi.Error:
            return False
        return False  # what was committed before it began to listen is looked for at once

    def _connect(self) -> Any:
        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        options |= postgresql.options_for(self.engine.url)["connect_args"]
        connection = self.engine.dialect.loaded_dbapi.connect(*arguments, **options, autocommit=True)
        connection.execute(f"LISTEN {self.channel}")
        return connection
