"""Which of our results a structure set answers. Pure: from the jobs of its series to a decision."""

from collections.abc import Sequence
from dataclasses import dataclass

from rtseg_daemon.config.values import without_version


@dataclass(frozen=True)
class Result:
    """A result of ours for one series.

    Args:
        organs: TG-263 names of those that it contoured.
        sent_at: when a destination first had it (seconds since 1970), or None while none is known to.
        ended: whether nothing more will come of it: cancelled, or made for nobody.
    """

    job_id: int
    bundle: str
    organs: frozenset[str]
    sent_at: float | None
    ended: bool
    destinations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a set answers: organ to the job that has it, or why it must wait or can never be compared."""

    jobs: dict[str, Result]
    wait: str = ""
    apart: str = ""

    def main(self, organs: Sequence[str]) -> Result | None:
        """The result that has most of these organs. Of several the newest."""
        found = list({one.job_id: one for one in self.jobs.values()}.values())
        return max(found, key=lambda one: (len(one.organs & set(organs)), one.job_id), default=None)


SAME_MOMENT_SECONDS = 60.0
"""Our delivery may be entered a moment after a fast planning system has sent its set."""


def answered(results: Sequence[Result], received_at: float) -> Answer:
    """Of each bundle, the newest result that was delivered before the set came, else the first that was after.

    An approval may come before our own delivery is known here: its answer was lost, or the ledger is an older one.
    """
    by_bundle: dict[str, list[Result]] = {}
    for one in results:
        if one.sent_at is not None:
            by_bundle.setdefault(without_version(one.bundle), []).append(one)
    if not by_bundle:
        if results and all(one.ended for one in results):
            return Answer({}, apart="no result of ours was delivered for its series")
        return Answer({}, wait="our own result for its series is not delivered yet")
    jobs: dict[str, Result] = {}
    for delivered in by_bundle.values():
        chosen = newest_before(delivered, received_at)
        jobs |= dict.fromkeys(chosen.organs, chosen)
    return Answer(jobs)


def newest_before(delivered: Sequence[Result], received_at: float) -> Result:
    before = [one for one in delivered if (one.sent_at or 0.0) <= received_at + SAME_MOMENT_SECONDS]
    if before:
        return max(before, key=lambda one: (one.sent_at or 0.0, one.job_id))
    return min(delivered, key=lambda one: (one.sent_at or 0.0, one.job_id))
