"""Files wherever they lie: those of this host from its storage, those of others fetched from them once."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rtseg_daemon.cluster.exchange import Exchange
from rtseg_daemon.cluster.shelf import Shelf
from rtseg_daemon.errors import ExchangeError, HostAway, StorageFull
from rtseg_daemon.logs import log
from rtseg_daemon.storage import Layout, damage
from rtseg_daemon.stored import Stored, files_beside

AWAY_SECONDS = 5.0
"""How long a host that did not answer is not asked again."""
AT_ONCE = 4
"""Files that come at the same time: a long way between two hosts is waited for less often."""


@dataclass(frozen=True)
class HostFiles:
    """What one process of one host of several works with.

    Args:
        host: this host's name in the ledger.
        address_of: where another host answers, by its name. Raises HostGone for one that nobody knows.
    """

    layout: Layout
    host: str
    shelf: Shelf
    exchange: Exchange
    address_of: Callable[[str], str]
    away: dict[str, float] = field(default_factory=dict)
    """Hosts that did not answer, and until when they are not asked again (monotonic seconds)."""

    def at_hand(self, stored: Sequence[Stored]) -> list[Path]:
        """A path for each file, in their order. What lies elsewhere is fetched and compared with its digest.

        A file that its host has no more, or not as it was, is on no shelf. Its path leads to nothing, as that of a file
        that was lost here does. So it is with those of a host that is out of the ledger. Raises HostAway naming a host
        that does not answer, StorageError where the files are too many for this one, StorageFull where its disk is
        full.
        """
        theirs = {one.sha256: one for one in stored if not self.keeps(one.host)}
        with shelving():
            missing = [one for digest, one in theirs.items() if self.shelf.find(digest) is None]
            if missing:
                self.shelf.make_room(sum(one.size for one in missing), theirs.keys())
                self._fetch_all(missing)
        return [
            self.layout.directory / one.path if self.keeps(one.host) else self.shelf.place(one.sha256) for one in stored
        ]

    def intact(self, one: Stored) -> bool:
        """Whether the host that has this file still has it, as it was. All of it is read, or fetched anew.

        A host that is out of the ledger has none. Raises HostAway where a host does not answer, StorageFull where the
        disk here is full.
        """
        if self.keeps(one.host):
            return not damage(self.layout.directory / one.path, one.sha256)
        with shelving():
            self.shelf.make_room(one.size, ())
            return self._fetch(one)

    def beside(self, host: str, job_id: int) -> dict[str, Path]:
        """What lies beside the structure set of a job at home on `host`, by name. Raises as `at_hand` does."""
        if self.keeps(host):
            return files_beside(self.layout, job_id)
        with self._asking(host) as address:
            listed = [replace(one, host=host) for one in self.exchange.listed(address, job_id)]
        return {one.key.rpartition("/")[2]: path for one, path in zip(listed, self.at_hand(listed), strict=True)}

    def keeps(self, host: str) -> bool:
        """Whether it is this host. What came from a time before hosts had names is."""
        return host in ("", self.host)

    def bring(self, host: str, job_id: int, token: int, paths: Sequence[Path]) -> None:
        """Leave files of a job's result at its home. Raises as `Exchange.bring` does."""
        for path in paths:
            with self._asking(host) as address:
                self.exchange.bring(address, job_id, token, path)

    @contextmanager
    def _asking(self, host: str) -> Iterator[str]:
        """The address of a host. One that did not answer is left alone for a moment, or whoever looks at many series
        would wait for it with each."""
        if time.monotonic() < self.away.get(host, 0.0):
            raise HostAway(f"host {host} did not answer a moment ago; it is asked again soon")
        try:
            yield self.address_of(host)
        except HostAway:
            self.away[host] = time.monotonic() + AWAY_SECONDS
            raise

    def _fetch_all(self, missing: Sequence[Stored]) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as threads:
            coming = [threads.submit(self._fetch, one) for one in missing]
            try:
                for one in coming:
                    one.result()
            finally:
                threads.shutdown(wait=True, cancel_futures=True)  # else each file waits for a host that is away

    def _fetch(self, one: Stored) -> bool:
        """Put a file on the shelf. False where its host does not have it as it was."""
        try:
            with self._asking(one.host) as address, self.shelf.receiving(one.sha256) as part:
                self.exchange.fetch(address, one, part)
        except HostAway:
            raise
        except ExchangeError as error:
            log().error("a file of another host is not as it was received", file=one.key, reason=str(error))
            return False
        return True


@contextmanager
def shelving() -> Iterator[None]:
    """Raises StorageFull where files of other hosts cannot be written here."""
    try:
        yield
    except OSError as error:
        raise StorageFull(
            f"files of other hosts cannot be written here now ({error.strerror}); make room in storage.directory"
        ) from error
