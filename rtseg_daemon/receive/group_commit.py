"""The receiver's one writer: whatever waits is made durable and committed together, and only then answered.

Many associations wait for one flush of the disk instead of each for its own: every file of the group is fsynced, all at
once, then all are named, then their folder is fsynced and one transaction committed. No session crosses a thread:
callers hand over functions, the writer calls them.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.loss import hindrance, is_lost_connection
from rtseg_daemon.ledger.mark import Mark
from rtseg_daemon.logs import log

LARGEST_BATCH = 64
FLUSHERS = 8
PATIENCE_SECONDS = 10.0
"""How long a database server that ended the connection is waited for, as when it is restarted, before objects are
refused."""
AGAIN_SECONDS = 0.25

T = TypeVar("T")


@dataclass
class Entry(Generic[T]):
    """One piece of work and, once done, its result or its error. `prepare` comes before the transaction.

    `pending` is a lock that is held until then: the cheapest thing to wait on.
    """

    work: Callable[[Session], T]
    prepare: Callable[[], None]
    pending: threading.Lock = field(default_factory=threading.Lock)
    result: T | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.pending.acquire()


class GroupCommit(threading.Thread):
    """Calls `before_commit` once per transaction, between the work and the commit."""

    def __init__(self, engine: Engine, before_commit: Callable[[], None]) -> None:
        super().__init__(name="group-commit", daemon=True)
        self._engine = engine
        self._before_commit = before_commit
        self._mark = Mark()
        self._pool = ThreadPoolExecutor(FLUSHERS, thread_name_prefix="flush")
        self._entries: queue.SimpleQueue[Entry[Any] | None] = queue.SimpleQueue()

    def submit(self, work: Callable[[Session], T], prepare: Callable[[], None] = lambda: None) -> T:
        """Run `work` in the next transaction and return its result once that is durable. Raises what went wrong."""
        entry = Entry(work, prepare)
        self._entries.put(entry)
        entry.pending.acquire()
        if entry.error is not None:
            raise entry.error
        return entry.result  # type: ignore[return-value]

    def stop(self) -> None:
        """Finish what waits, then end."""
        self._entries.put(None)
        self.join()
        self._pool.shutdown()
        with contextlib.suppress(SQLAlchemyError):
            self._mark.remove(self._engine)

    def run(self) -> None:
        while (first := self._entries.get()) is not None:
            batch, last = self._gather(first)
            try:
                ready = self._prepare(batch)
            except RuntimeError as error:  # the system gives no more threads
                ready = []
                for entry in batch:
                    entry.error = error
            if ready:
                self._commit(ready)
            for entry in batch:
                entry.pending.release()
            if last:
                return

    def _prepare(self, batch: list[Entry[Any]]) -> list[Entry[Any]]:
        """Those whose preparation succeeded. Files are flushed at the same time, which the file system does as one."""
        run = map if len(batch) == 1 else self._pool.map
        return [entry for entry, good in zip(batch, run(prepared, batch), strict=True) if good]

    def _gather(self, first: Entry[Any]) -> tuple[list[Entry[Any]], bool]:
        """All that waits by now, and whether the end was among it."""
        batch = [first]
        while len(batch) < LARGEST_BATCH:
            try:
                entry = self._entries.get_nowait()
            except queue.Empty:
                break
            if entry is None:
                return batch, True
            batch.append(entry)
        return batch, False

    def _commit(self, batch: list[Entry[Any]]) -> None:
        """One transaction for all. If it fails, one for each, so that one fault harms one caller.

        Where no database server is there for long, none of them can be committed.
        """
        try:
            self._attempt_patiently(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            if len(batch) == 1 or is_lost_connection(error):
                for entry in batch:
                    entry.error = error
                return
            log().warning("a group commit failed; each entry is tried alone", entries=len(batch), exc_info=error)
            for entry in batch:
                self._commit([entry])

    def _attempt_patiently(self, batch: list[Entry[Any]]) -> None:
        """Try again where the connection was lost, but never what was committed before that could be told."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        self._mark.forget()
        while True:
            try:
                return self._attempt(batch)
            except SQLAlchemyError as error:
                if not is_lost_connection(error) or time.monotonic() > deadline:
                    raise
                log().warning("the connection to the ledger was lost; trying again", reason=hindrance(error))
                time.sleep(AGAIN_SECONDS)

    def _attempt(self, batch: list[Entry[Any]]) -> None:
        with writing(self._engine) as session:
            if self._mark.is_there(session):  # committed, though the connection ended before that could be told
                return
            for entry in batch:
                entry.result = entry.work(session)
            self._mark.leave(session)
            self._before_commit()


def prepared(entry: Entry[Any]) -> bool:
    """Whether the entry may go into the transaction. If not, it has its error."""
    try:
        entry.prepare()
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
        entry.error = error
    return entry.error is None
