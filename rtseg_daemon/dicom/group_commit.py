"""The receiver's one writer: whatever waits is committed together, and only then answered.

Many associations wait for one fsync instead of each for its own. No session crosses a thread: callers hand over a
function, the writer calls it inside its transaction.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.logs import log

LARGEST_BATCH = 64

T = TypeVar("T")


@dataclass
class Entry(Generic[T]):
    """One piece of work and, once `done`, its result or its error."""

    work: Callable[[Session], T]
    done: threading.Event = field(default_factory=threading.Event)
    result: T | None = None
    error: BaseException | None = None


class GroupCommit(threading.Thread):
    """Calls `before_commit` once per transaction, between the work and the commit."""

    def __init__(self, engine: Engine, before_commit: Callable[[], None]) -> None:
        super().__init__(name="group-commit", daemon=True)
        self._engine = engine
        self._before_commit = before_commit
        self._entries: queue.SimpleQueue[Entry[Any] | None] = queue.SimpleQueue()

    def submit(self, work: Callable[[Session], T]) -> T:
        """Run `work` in the next transaction and return its result once that is durable; raises what went wrong."""
        entry = Entry(work)
        self._entries.put(entry)
        entry.done.wait()
        if entry.error is not None:
            raise entry.error
        return entry.result  # type: ignore[return-value]

    def stop(self) -> None:
        """Finish what waits, then end."""
        self._entries.put(None)
        self.join()

    def run(self) -> None:
        while (first := self._entries.get()) is not None:
            batch, last = self._gather(first)
            self._commit(batch)
            for entry in batch:
                entry.done.set()
            if last:
                return

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
        """One transaction for all; if it fails, one for each, so that one fault harms one caller."""
        try:
            self._attempt(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            if len(batch) == 1:
                batch[0].error = error
                return
            log().warning("a group commit failed; each entry is tried alone", entries=len(batch), exc_info=error)
            for entry in batch:
                self._commit([entry])

    def _attempt(self, batch: list[Entry[Any]]) -> None:
        with writing(self._engine) as session:
            for entry in batch:
                entry.result = entry.work(session)
            self._before_commit()
