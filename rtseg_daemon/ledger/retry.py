"""When to try again, as pure functions: facts in, decision out."""

FIRST_RESTART_SECONDS = 1.0
LONGEST_RESTART_SECONDS = 60.0
EVEN = 0.5
"""The jitter that spreads nothing."""


def backoff_seconds(attempts: int, first: float, longest: float, jitter: float) -> float:
    """Wait after `attempts` failures: `first`, doubled each time, at most `longest`, then spread by +/- 20 %.

    `jitter` is a random number in [0, 1): many queues that failed together do not come back together.
    """
    plain = min(longest, first * 2.0 ** min(max(attempts - 1, 0), 30))
    return plain * (0.8 + 0.4 * jitter)


def restart_seconds(recent_deaths: int) -> float:
    """Pause before a child that died `recent_deaths` times in a row is started again."""
    return (
        min(LONGEST_RESTART_SECONDS, FIRST_RESTART_SECONDS * 2.0 ** max(recent_deaths - 1, 0)) if recent_deaths else 0.0
    )


def really_waited(now: float, last_attempt_at: float | None, planned: float) -> float:
    """Seconds between two attempts as far as they can be trusted: never negative, never more than was planned.

    A clock that jumps forward a year does not make the daemon give up. One that jumps back takes nothing away.
    """
    return 0.0 if last_attempt_at is None else min(max(now - last_attempt_at, 0.0), planned)


def due(now: float, next_attempt_at: float | None, longest: float) -> bool:
    """Whether an attempt is due. One that lies further ahead than any wait could is due too (the clock jumped back)."""
    return next_attempt_at is None or next_attempt_at <= now or next_attempt_at > now + 1.5 * longest
