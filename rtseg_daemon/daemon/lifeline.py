"""How a child process lives and ends: it stops on SIGTERM, and dies when the supervisor does."""

import os
import signal
import sys
import threading


def follow_supervisor() -> threading.Event:
    """Install a child's signal handlers and watch its standard input; returns the event that says: stop.

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
