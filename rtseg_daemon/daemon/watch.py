"""Is a running job still making progress? Judged by the supervisor's monotonic clock: clock jumps do no harm."""

from dataclasses import dataclass, field

from rtseg_daemon.ledger.supervision import Progress


@dataclass
class Seen:
    """When the supervisor first saw a job run, and when its beats last grew (monotonic seconds)."""

    began: float
    beats: int
    moved: float


@dataclass
class Watch:
    """Times every running job.

    Args:
        timeout_seconds: longest run of one job.
        stall_seconds: longest pause between two beats.
    """

    timeout_seconds: float
    stall_seconds: float
    seen: dict[tuple[int, str], Seen] = field(default_factory=dict)

    def overdue(self, jobs: list[Progress], now: float) -> list[tuple[Progress, str]]:
        """The jobs whose worker must be stopped, each with the reason."""
        current = {(job.job_id, job.owner): job for job in jobs}
        self.seen = {key: seen for key, seen in self.seen.items() if key in current}
        late = []
        for key, job in current.items():
            reason = self._judge(self.seen.setdefault(key, Seen(now, job.beats, now)), job, now)
            if reason:
                late.append((job, reason))
        return late

    def _judge(self, seen: Seen, job: Progress, now: float) -> str | None:
        if job.beats != seen.beats:
            seen.beats, seen.moved = job.beats, now
        if now - seen.began > self.timeout_seconds:
            return f"not finished within jobs.timeout_seconds ({self.timeout_seconds:g} s)"
        if now - seen.moved > self.stall_seconds:
            return f"no progress for {self.stall_seconds:g} s"
        return None
