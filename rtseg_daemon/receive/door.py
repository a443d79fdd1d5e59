"""How many peers may be in, and who has to leave when it gets full. Pure book-keeping behind one lock.

A connection waits at the door until its association request is complete and accepted. Waiting ones do not count as
associations. When the waiting room is full the oldest waiting connection is put out. When all associations are taken,
one that has brought nothing for a while is put out for the newcomer, so that silent peers cannot lock others out.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

MOST_WAITING = 64
IDLE_SECONDS = 3.0
"""An association that brought nothing for so long may have to make room."""


class Guest(Protocol):
    """What the door must know of a connection."""

    worth: float

    def cut(self) -> None: ...


@dataclass
class Door:
    """Args: `most`: associations in all, `most_per_caller`: of one (AE title, address)."""

    most: int
    most_per_caller: int
    most_waiting: int = MOST_WAITING
    waiting: list[Guest] = field(default_factory=list)
    inside: dict[int, tuple[tuple[str, str], Guest]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arrive(self, guest: Guest) -> None:
        """A connection was made. The oldest that still waits leaves if there are too many."""
        with self.lock:
            self.waiting.append(guest)
            put_out = self.waiting.pop(0) if len(self.waiting) > self.most_waiting else None
        if put_out is not None:
            put_out.cut()

    def enter(self, guest: Guest, caller: tuple[str, str]) -> bool:
        """A waiting connection wants to become an association. Returns False if there is no room for it."""
        with self.lock:
            own = [g for c, g in self.inside.values() if c == caller]
            crowd = own if len(own) >= self.most_per_caller else [g for _, g in self.inside.values()]
            full = len(own) >= self.most_per_caller or len(self.inside) >= self.most
            put_out = idlest(crowd, time.monotonic()) if full else None
            if full and put_out is None:
                return False
            if put_out is not None:
                self.inside.pop(id(put_out), None)
            if guest in self.waiting:
                self.waiting.remove(guest)
            self.inside[id(guest)] = (caller, guest)
        if put_out is not None:
            put_out.cut()
        return True

    def leave(self, guest: Guest) -> None:
        """The connection is gone."""
        with self.lock:
            if guest in self.waiting:
                self.waiting.remove(guest)
            self.inside.pop(id(guest), None)


def idlest(guests: Iterable[Guest], now: float) -> Guest | None:
    """The one that has brought nothing for longest, if that is at least IDLE_SECONDS."""
    oldest = min(guests, key=lambda guest: guest.worth, default=None)
    return oldest if oldest is not None and now - oldest.worth >= IDLE_SECONDS else None
