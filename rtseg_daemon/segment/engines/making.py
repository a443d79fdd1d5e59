"""What is being compiled right now, and how long it will take: two small files beside the compiled models.

The process that compiles writes them, and `rtseg-daemon status` reads them. Estimates come from networks of this bundle
that are done, else from those that were once compiled on this machine. Where there are neither, none is made up.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PREFIX = "making-"
TIMES = "compile-times.json"
"""Kind of network -> seconds that one of it last took."""


@dataclass(frozen=True)
class Making:
    """A bundle whose networks are being compiled. Times are monotonic seconds, the same for all processes.

    Args:
        earlier: seconds per network as they were measured on this machine before. None if they never were.
    """

    bundle: str
    total: int
    pid: int
    began: float
    done: int = 0
    done_at: float | None = None
    earlier: float | None = None

    def per_network(self) -> float | None:
        """Seconds for one network, measured now or earlier."""
        if self.done and self.done_at is not None:
            return (self.done_at - self.began) / self.done
        return self.earlier

    def remaining(self, now: float) -> float | None:
        """Seconds until all are done. None where nothing is measured, or what was measured is used up."""
        each = self.per_network()
        if each is None:
            return None
        begun = self.done_at if self.done_at is not None else self.began
        current = max(0.0, each - (now - begun))
        left = self.total - self.done - 1
        return current + left * each if current or left else None


@dataclass
class Workshop:
    """Notes of one process about what it compiles. `cache` is None where nothing can be kept: then nothing is said.

    Args:
        kind: the network's family and arguments, by which times are remembered.
        total: networks of the bundle.
    """

    cache: Path | None
    bundle: str
    kind: str
    total: int
    now: Callable[[], float] = time.monotonic
    ready: int = field(default=0, init=False)
    making: Making | None = field(default=None, init=False)

    @property
    def file(self) -> Path | None:
        return self.cache / f"{PREFIX}{os.getpid()}.json" if self.cache else None

    def begin(self) -> None:
        """A network has to be compiled. Said when the first one has."""
        if self.making is None:
            earlier = times(self.cache).get(self.kind) if self.cache else None
            self.making = Making(self.bundle, self.total - self.ready, os.getpid(), self.now(), earlier=earlier)
            self._write(self.making)

    def finished_one(self) -> None:
        """A network is ready to be used, compiled or read from the cache."""
        self.ready += 1
        if self.making is not None:
            values = asdict(self.making) | {"done": self.making.done + 1, "done_at": self.now()}
            self.making = Making(**values)
            self._write(self.making)

    def close(self) -> None:
        """All are ready, or one could not be made. How long each took is kept for the next estimate."""
        making, self.making = self.making, None
        if making is None or self.cache is None or self.file is None:
            return
        each = making.per_network()
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)
            if making.done and each is not None:
                replace_text(self.cache / TIMES, json.dumps(times(self.cache) | {self.kind: round(each, 3)}))

    def _write(self, making: Making) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):
                replace_text(self.file, json.dumps(asdict(making)))


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    partial.write_text(text)
    partial.replace(path)


def times(cache: Path) -> dict[str, float]:
    """Seconds per network by its kind, as measured here before."""
    try:
        found = json.loads((cache / TIMES).read_text())
        return {str(kind): float(seconds) for kind, seconds in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def being_made(cache: Path, pids: set[int], now: float) -> list[Making]:
    """What these processes compile now. Notes of others, and of those before the last start of the machine, are old."""
    found = []
    for path in sorted(cache.glob(f"{PREFIX}*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            making = Making(**json.loads(path.read_text()))
            if making.pid in pids and making.began <= now:
                found.append(making)
    return found


def making_shape(making: Making, now: float) -> dict[str, Any]:
    """As `status --json` shows it."""
    remaining = making.remaining(now)
    return {
        "bundle": making.bundle,
        "pid": making.pid,
        "done": making.done,
        "total": making.total,
        "seconds": round(now - making.began, 1),
        "remaining_seconds": None if remaining is None else round(remaining, 1),
        "measured": "now" if making.done else "earlier" if making.earlier is not None else None,
    }


def sentence(shape: dict[str, Any]) -> str:
    """The same for people."""
    head = (
        f"the worker compiles bundle {shape['bundle']} for this machine, which it does once: {shape['done']} of "
        f"{shape['total']} networks are done after {shape['seconds']:.0f} s"
    )
    left = shape["remaining_seconds"]
    if left is None:
        tail = "how long it will take is not known yet" if shape["measured"] is None else "it takes longer than before"
    else:
        basis = "as the first ones took" if shape["measured"] == "now" else "as it took here before"
        tail = f"about {left:.0f} s to go, {basis}"
    return f"{head}; {tail}. Images are received meanwhile, and jobs wait"
