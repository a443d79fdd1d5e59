"""What was read once is kept for whoever looks at it next: bounded in bytes and in time, each thing read by one only.

The files are deleted as soon as they are open. So what is kept ends with this process, however that ends.
"""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtseg_daemon.errors import NotShown

KEPT_BYTES = 3 * 2**30
KEPT_SECONDS = 600.0
"""After so long without a look a thing is dropped."""
WAITING = 12
"""So many requests wait for readers. More would leave no thread for other pages."""
BUSY = "too many people look at series that must be read first; try again in a few seconds"

Read = Callable[[Path], dict[str, Any]]
"""Fills the file and says what is in it."""


@dataclass
class Thing:
    """An open file without a name, and what its reader said of it."""

    descriptor: int
    size: int
    said: dict[str, Any]
    mark: str
    used_at: float
    users: int = 0
    dropped: bool = False


@dataclass
class Shelf:
    """Things by their key, the one used last at the end.

    Args:
        folder: where files lie for the moment until they are open.
    """

    folder: Path
    kept_bytes: int = KEPT_BYTES
    kept_seconds: float = KEPT_SECONDS
    now: Callable[[], float] = time.monotonic
    _things: dict[str, Thing] = field(default_factory=dict)
    _reading: set[str] = field(default_factory=set)
    _waiting: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def open(self) -> "Shelf":
        """Make the folder anew: what a process left that was killed is deleted."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        return self

    @contextmanager
    def using(self, key: str, size: int, read: Read, mark: str = "") -> Iterator[Thing]:
        """The thing of this key, read now unless it is here; it stays open meanwhile. `size` is what it may need.

        What was read from files that had another `mark` is read anew. Whoever gives none takes what is here.
        Raises NotShown where it cannot be read, or where too many wait.
        """
        thing = self._taken(key, size, read, mark)
        try:
            yield thing
        finally:
            with self._changed:
                thing.users -= 1
                thing.used_at = self.now()
                self._closed_if_unused(thing)

    def holds(self, key: str) -> bool:
        """Whether the thing of this key is here."""
        with self._changed:
            return key in self._things

    def drop_old(self) -> None:
        """Drop what nobody has looked at for long."""
        with self._changed:
            for key in [key for key, one in self._things.items() if self.now() - one.used_at > self.kept_seconds]:
                self._drop(key)

    def keep(self, keys: Iterable[str]) -> None:
        """These are not dropped for being old, as if somebody had looked at them now."""
        with self._changed:
            for key in keys:
                if key in self._things:
                    self._things[key].used_at = self.now()

    def close(self) -> None:
        """Drop everything."""
        with self._changed:
            for key in list(self._things):
                self._drop(key)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return sum(thing.size for thing in self._things.values())

    def _taken(self, key: str, size: int, read: Read, mark: str) -> Thing:
        with self._changed:
            if key not in self._things:
                self._wait_for_turn(key)
            if mark and key in self._things and self._things[key].mark != mark:
                self._drop(key)
            if key in self._things:
                return self._use(key)
            self._reading.add(key)
            self._make_room(size)
        thing = None
        try:
            thing = self._read(read, mark)
        finally:
            self._done(key, thing)
        return thing

    def _wait_for_turn(self, key: str) -> None:
        """Until nobody reads this thing. Whoever waits or reads counts, and there may be so many only."""
        if self._waiting + len(self._reading) >= WAITING:
            raise NotShown(BUSY, 503)
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: key not in self._reading)
        finally:
            self._waiting -= 1

    def _done(self, key: str, thing: Thing | None) -> None:
        """It is read, or could not be. Whoever waits for it goes on."""
        with self._changed:
            self._reading.discard(key)
            self._changed.notify_all()
            if thing is not None:
                self._things[key] = thing
                self._use(key)
                self._make_room(0)

    def _use(self, key: str) -> Thing:
        thing = self._things[key] = self._things.pop(key)
        thing.users += 1
        return thing

    def _read(self, read: Read, mark: str) -> Thing:
        path = self.folder / secrets.token_hex(16)
        try:
            said = read(path)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotShown(f"the scratch file cannot be used ({error.strerror}); see storage.directory", 507) from error
        finally:
            path.unlink(missing_ok=True)
        return Thing(descriptor, os.fstat(descriptor).st_size, said, mark, self.now())

    def _make_room(self, size: int) -> None:
        """Drop what was used longest ago until so many bytes fit. What is in use goes when it is not any more."""
        for key in list(self._things):
            if self.bytes + size <= self.kept_bytes:
                return
            self._drop(key)

    def _drop(self, key: str) -> None:
        thing = self._things.pop(key)
        thing.dropped = True
        self._closed_if_unused(thing)

    def _closed_if_unused(self, thing: Thing) -> None:
        if thing.dropped and not thing.users:
            os.close(thing.descriptor)
