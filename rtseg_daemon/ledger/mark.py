"""Whether a transaction was committed when the connection ended before the server could say so.

The transaction leaves a mark of its own. Whoever finds it later knows that all of it is there. This holds after a
failover too, where a transaction's number may have been given to another one.
"""

import os
import socket
import uuid

from sqlalchemy import Engine, delete, text
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Setting

LEAVE = text(
    "INSERT INTO setting (key, value) SELECT :key, :value WHERE pg_current_xact_id_if_assigned() IS NOT NULL "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


class Mark:
    """The mark of one process's last transaction. An SQLite file has no connection that could end, and needs none."""

    def __init__(self) -> None:
        self.key = f"last_commit:{socket.gethostname()}/{os.getpid()}"
        self.value = ""

    def forget(self) -> None:
        """What comes next is another piece of work."""
        self.value = ""

    def leave(self, session: Session) -> None:
        """Write a new mark, as the transaction's last step, if it has written anything."""
        if session.get_bind().dialect.name == "postgresql":
            session.flush()
            self.value = uuid.uuid4().hex
            session.connection().execute(LEAVE, {"key": self.key, "value": self.value})

    def is_there(self, session: Session) -> bool:
        """Whether the transaction that left the mark was committed. Asked in one that writes: the other has ended."""
        if not self.value:
            return False
        found = session.get(Setting, self.key)
        return found is not None and found.value == self.value

    def remove(self, engine: Engine) -> None:
        """The process ends."""
        if engine.dialect.name == "postgresql":
            with writing(engine) as session:
                session.execute(delete(Setting).where(Setting.key == self.key))
