"""Callers that were turned away, counted in memory and written into the ledger now and then.

A flood of strangers must not cost a write each, and whatever they call themselves, the count stays bounded.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.ledger.rejected_callers import CallerSeen, count_rejected
from rtseg_daemon.logs import log
from rtseg_daemon.receive.group_commit import GroupCommit

MOST_CALLERS = 50
"""Different ones between two writes. The others are counted together."""
WRITE_SECONDS = 2.0


class TurnedAway:
    """Args: `now`: seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.lock = threading.Lock()
        self.seen: Counter[CallerSeen] = Counter()

    def note(self, caller: CallerSeen) -> None:
        """Count one rejection and say it in the log. Waits for nobody."""
        log().warning(
            "a caller was rejected",
            calling=caller.calling_ae,
            called=caller.called_ae,
            host=caller.host,
            reason=caller.reason,
        )
        with self.lock:
            if caller not in self.seen and len(self.seen) >= MOST_CALLERS:
                caller = CallerSeen("", "", "", caller.kind, f"{caller.reason} (many callers)")
            self.seen[caller] += 1

    def write(self, commits: GroupCommit) -> None:
        """Write what was counted since the last time. A ledger that cannot be written gets it at the next turn."""
        with self.lock:
            seen, self.seen = self.seen, Counter()
        if not seen:
            return
        try:
            commits.submit(lambda session: count_rejected(session, seen, self.now()))
        except (SQLAlchemyError, OSError) as error:
            log().error("rejected callers could not be counted; trying again", exc_info=error)
            with self.lock:
                self.seen.update(seen)

    def keep_writing(self, commits: GroupCommit, stop: threading.Event) -> None:
        """Write every few seconds until `stop`, and once more at the end."""
        while not stop.wait(WRITE_SECONDS):
            self.write(commits)
        self.write(commits)
