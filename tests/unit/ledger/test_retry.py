"""When to try again: decisions from facts, clocks that jump included."""

from hypothesis import given
from hypothesis import strategies as st

from rtseg_daemon.ledger.retry import backoff_seconds, due, really_waited, restart_seconds

HOUR = 3600.0


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_to_the_longest_and_no_further(attempts: int, jitter: float) -> None:
    wait = backoff_seconds(attempts, 30, HOUR, jitter)
    assert 24 <= wait <= 1.2 * HOUR
    if attempts >= 8:
        assert wait >= 0.8 * HOUR


def test_the_first_wait_is_doubled_each_time() -> None:
    assert [backoff_seconds(n, 30, HOUR, 0.5) for n in range(1, 5)] == [30, 60, 120, 240]


@given(st.floats(-1e9, 1e9), st.floats(0, HOUR))
def test_a_clock_that_jumps_neither_takes_time_away_nor_makes_the_daemon_give_up(jump: float, planned: float) -> None:
    assert 0 <= really_waited(1000.0 + jump, 1000.0, planned) <= planned


def test_an_attempt_is_due_when_its_time_has_come_or_lies_absurdly_far_ahead() -> None:
    assert due(100.0, None, HOUR)
    assert due(100.0, 100.0, HOUR)
    assert not due(100.0, 100.0 + HOUR, HOUR)
    assert due(100.0, 100.0 + 2 * HOUR, HOUR), "the clock was set back; nothing waits longer than the longest retry"


def test_a_child_that_keeps_dying_is_restarted_ever_more_slowly() -> None:
    assert [restart_seconds(n) for n in (0, 1, 2, 3, 20)] == [0, 1, 2, 4, 60]
