"""What the supervisor makes of a ledger that it cannot write: wait and tell a person, or end because it is lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rtseg_daemon.ledger.loss import hindrance, loss
from rtseg_daemon.logs import log
from rtseg_daemon.upkeep.direct import DirectAlarms

TELL_SECONDS = 20.0
"""How long the ledger may be busy or the disk away before a person is told."""


@dataclass
class LedgerWatch:
    """Hears of every use of the ledger. `lost` is the reason once nothing but a person can mend it."""

    direct: DirectAlarms
    place: str = "the disk of storage.directory (full? read-only? away?)"
    """Where a person is to look."""
    now: Callable[[], float] = time.monotonic
    failing_since: float | None = None
    lost: str | None = None

    def used(self) -> None:
        """The ledger was written."""
        if self.failing_since is not None:
            log().info("the ledger can be used again")
        self.failing_since = None

    def failed(self, error: Exception) -> None:
        """The ledger could not be used."""
        log().error("the ledger cannot be used now; trying again", reason=hindrance(error), exc_info=error)
        if reason := loss(error):
            self.lose(reason)
            return
        if self.failing_since is None:
            self.failing_since = self.now()
        if self.now() - self.failing_since >= TELL_SECONDS:
            self.direct.tell(
                "ledger",
                "ledger:cannot be written",
                f"the ledger cannot be written ({hindrance(error)}); nothing is received or delivered until it can: "
                f"look at {self.place}",
            )

    def lose(self, reason: str) -> None:
        """The ledger is lost: say so, once."""
        if self.lost is None:
            self.lost = reason
            self.direct.tell("ledger", f"ledger:{reason}", f"{reason}. Nothing is received until then.")
