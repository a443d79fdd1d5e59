"""A lease is renewed from time to time while its owner is at work, also through a step that takes long."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import DutyLost, LeaseLost

Trouble = Callable[[SQLAlchemyError], None]


@contextmanager
def kept(renew: Callable[[], None], every_seconds: float, trouble: Trouble = lambda _: None) -> Iterator[None]:
    """Call `renew` from time to time while the block runs, in a thread of its own.

    `trouble` is told that the ledger could not be used. It is tried again.
    """
    done = threading.Event()
    keeper = threading.Thread(target=keep, args=(renew, done, every_seconds, trouble), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def keep(renew: Callable[[], None], done: threading.Event, every_seconds: float, trouble: Trouble) -> None:
    """Until `done`, or until the lease is another's. The work learns that by itself at its next step."""
    while not done.wait(every_seconds):
        try:
            renew()
        except (LeaseLost, DutyLost):
            return
        except SQLAlchemyError as error:
            trouble(error)
