"""The next job's series, read and decoded while a card is at work on the present one: one job ahead, no more.

Nothing is decided here. A series that was read ahead is used only if the job asks for the very same files, bundles and
options, and only if every file had its digest when it was read. Otherwise the job reads for itself, as ever.
"""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from rtseg_daemon.logs import describe, log
from rtseg_daemon.work.case import CaseResult


@dataclass(frozen=True)
class ReadJob:
    """What reading a job's series depends on: its number, files with digests, bundles and options."""

    job_id: int
    asked: Hashable


class Ahead:
    """At most one series beside the one at work."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self.coming: tuple[ReadJob, Future[CaseResult]] | None = None

    def start(self, job: ReadJob, read: Callable[[], CaseResult]) -> None:
        """Begin to read a job's series, unless one is being read or waits."""
        if self.coming is None:
            self.coming = job, self.thread.submit(read)

    def take(self, job: ReadJob) -> CaseResult | None:
        """The series as it was read for this job, or None if it was not, or could not be. What was read is let go."""
        if self.coming is None:
            return None
        (read, future), self.coming = self.coming, None
        if read != job:
            future.cancel()
            return None
        if (error := future.exception()) is None:
            return future.result()
        # the job reads for itself, and says what is wrong with its files
        log().warning("a series could not be read ahead; its job reads it", job=job.job_id, reason=describe(error))
        return None
