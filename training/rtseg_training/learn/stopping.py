"""SIGTERM and Ctrl-C end a training in order: the step at hand is finished, the checkpoint saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT)
UNFINISHED = 3
"""Exit status of a training that was saved before its end: the same command goes on with it."""


class Stop:
    """Whether this process was told to end."""

    asked = False

    def __call__(self) -> bool:
        return self.asked

    def note(self, number: int, _frame: FrameType | None) -> None:
        """The handler. Who asks a second time means it: then the signal ends the process as it always does."""
        self.asked = True
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def heeding() -> Iterator[Stop]:
    """Signals are noted while this lasts. Afterwards they do what they did before."""
    stop = Stop()
    before = {number: signal.signal(number, stop.note) for number in ENDING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
