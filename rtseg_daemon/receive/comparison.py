"""Has an image that came twice the same pixels? Bytes first, decoded values where those do not tell.

Decoding is the dear part, and a stranger chooses what is decoded. So each peer has one decoding at a time, and none for
a while after one that took too much. What cannot be told now is told to the sender as a refusal for now.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rtseg_daemon.errors import Undecided
from rtseg_daemon.receive.decoding import Broken, Decoder
from rtseg_daemon.receive.same_pixels import same_bytes

COMPARE_SECONDS = 45.0
"""For everything: less than a peer waits for an answer."""
PAUSE_SECONDS = 60.0
MOST_PEERS = 256


@dataclass(frozen=True)
class Compared:
    """Whether both have the same pixels, and the digests that were made for it, empty where none were."""

    same: bool
    kept_pixels: str = ""
    our_pixels: str = ""


@dataclass
class Account:
    """What one peer may have decoded."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    not_before: float = 0.0


class Comparison:
    """Compares for all associations. `now` gives monotonic seconds."""

    def __init__(self, decoder: Decoder, now: Callable[[], float] = time.monotonic) -> None:
        self.decoder = decoder
        self.now = now
        self._accounts: dict[str, Account] = {}
        self._guard = threading.Lock()

    def compare(self, peer: str, kept: Path | None, ours: Path, known_pixels: str = "") -> Compared:
        """Compare the file that is kept with the one that `peer` brought. `known_pixels` is the kept one's digest.

        Without the kept file its digest alone tells. Raises Undecided where it cannot be told now, OSError where a file
        cannot be read.
        """
        if kept is None and not known_pixels:
            raise Undecided("neither the earlier copy nor its digest is here")
        if kept is not None and same_bytes(kept, ours):
            return Compared(True)
        until = time.monotonic() + COMPARE_SECONDS
        with self._turn_of(peer, until):
            mine = self.decoder.digest(ours, until)
            theirs = self.decoder.digest(kept, until) if kept is not None and not known_pixels else known_pixels
        return Compared(mine is not None and mine == theirs, theirs or "", mine or "")

    @contextmanager
    def _turn_of(self, peer: str, until: float) -> Iterator[None]:
        """One decoding at a time for each peer. One that took too much costs it the next ones."""
        account = self._account(peer)
        if self.now() < account.not_before:
            raise Undecided("too much was decoded for this peer")
        if not account.turn.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Undecided("other images of this peer are being compared")
        try:
            yield
        except Broken:
            account.not_before = self.now() + PAUSE_SECONDS
            raise
        finally:
            account.turn.release()

    def _account(self, peer: str) -> Account:
        with self._guard:
            if len(self._accounts) > MOST_PEERS:
                idle = [
                    key for key, one in self._accounts.items() if not one.turn.locked() and one.not_before < self.now()
                ]
                for key in idle:
                    del self._accounts[key]
            return self._accounts.setdefault(peer, Account())
