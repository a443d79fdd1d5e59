"""Headers of open series, read a little at a time: one series whose headers take long must not make others wait."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rtseg_daemon.ct.headers import SliceHeader, read_header
from rtseg_daemon.errors import SeriesError

BUDGET_SECONDS = 1.0
"""For one series in one sweep. A file of 100,000 elements, the most that is received, takes a quarter of that."""


@dataclass
class HeaderShelf:
    """What was read so far, by series and file, or the error where a file could not be read.

    It counts while nothing more is heard of the series: what comes then may mend a file.
    """

    now: Callable[[], float] = time.monotonic
    heard: dict[int, float] = field(default_factory=dict)
    read: dict[int, dict[Path, SliceHeader | SeriesError]] = field(default_factory=dict)

    def fill(self, series_id: int, heard: float, paths: Sequence[Path]) -> bool:
        """Read on, at most BUDGET_SECONDS and one file. Returns whether all are read now. `heard`: see `sweep.Look`."""
        if self.heard.get(series_id) != heard:
            self.heard[series_id], self.read[series_id] = heard, {}
        shelf = self.read[series_id]
        began = self.now()
        for path in paths:
            if path in shelf:
                continue
            if self.now() - began >= BUDGET_SECONDS:
                return False
            try:
                shelf[path] = read_header(path)
            except SeriesError as error:
                shelf[path] = error
        return True

    def headers(self, series_id: int, paths: Sequence[Path]) -> list[SliceHeader]:
        """Of these files, all of which were read. Raises SeriesError for the first that could not be."""
        found = []
        for path in paths:
            header = self.read[series_id][path]
            if isinstance(header, SeriesError):
                raise header
            found.append(header)
        return found

    def forget_all_but(self, series_ids: Sequence[int]) -> None:
        for series_id in self.read.keys() - set(series_ids):
            del self.read[series_id], self.heard[series_id]
