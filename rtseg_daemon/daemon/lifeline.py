"""How a child process lives and ends: it stops on SIGTERM, dies when the supervisor does, and shows that it lives."""

import contextlib
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable

BEAT_SECONDS = 1.0


def follow_supervisor() -> threading.Event:
    """Install a child's signal handlers and watch its standard input. Returns the event that says: stop.

    SIGTERM sets the event. SIGINT is left to the supervisor (a terminal sends it to the whole group). The end of
    standard input means that the supervisor is gone: the process ends at once, since a new supervisor may be waiting.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_supervisor, name="lifeline", daemon=True).start()
    return stop


def _die_with_supervisor() -> None:
    while True:
        try:
            if not os.read(sys.stdin.fileno(), 1):
                os._exit(0)
        except InterruptedError:
            continue
        except (OSError, ValueError):
            os._exit(0)


def show_life(works: Callable[[], object]) -> None:
    """From now on, write a byte to the supervisor every second, as long as `works` returns.

    `works` does something small that stands still where the process's own work would: its errors are no matter here,
    only that it comes back. Without a supervisor at the other end of standard input nothing is done.
    """
    if stat.S_ISSOCK(os.fstat(sys.stdin.fileno()).st_mode):
        line = socket.socket(fileno=os.dup(sys.stdin.fileno()))
        threading.Thread(target=_beat, args=(line, works), name="heartbeat", daemon=True).start()


def _beat(line: socket.socket, works: Callable[[], object]) -> None:
    while True:
        with contextlib.suppress(Exception):
            works()
        with contextlib.suppress(OSError):  # a supervisor that does not read now finds the earlier beats
            line.send(b".", socket.MSG_DONTWAIT)
        time.sleep(BEAT_SECONDS)
