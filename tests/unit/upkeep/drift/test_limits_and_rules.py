"""Limits from the first cases, and Nelson's rules 1 to 3 with what confirms them."""

import random
import statistics

import pytest
from scipy import stats

from rtseg_daemon.upkeep.drift.limits import limits_of, student, without_strays
from rtseg_daemon.upkeep.drift.rules import BEYOND, SIDE, STEADY, confirmed, marks

CHANCE = random.Random(3)
BASELINE = [CHANCE.gauss(10.0, 1.0) for _ in range(50)]
LIMITS = limits_of(BASELINE, "set", 0.01)
CENTRE, SIGMA = LIMITS.centre, LIMITS.sigma


def at(*sigmas: float) -> list[float]:
    """Values so many sigmas from the centre."""
    return [CENTRE + SIGMA * k for k in sigmas]


@pytest.mark.parametrize("freedom", [19, 49, 149])
@pytest.mark.parametrize("sigmas", [3.0, 4.0])
def test_few_cases_make_wide_limits_as_student_has_it(sigmas: float, freedom: int) -> None:
    exact = stats.t.isf(stats.norm.sf(sigmas), freedom)
    assert student(sigmas, freedom) == pytest.approx(exact, rel=0.02)


def test_the_centre_is_the_mean_and_the_spread_that_of_the_first_cases() -> None:
    assert pytest.approx(statistics.fmean(BASELINE)) == CENTRE
    assert pytest.approx(1.0, rel=0.25) == SIGMA
    assert LIMITS.high - CENTRE == pytest.approx(CENTRE - LIMITS.low)
    assert LIMITS.high - CENTRE > 3 * SIGMA
    assert limits_of(BASELINE[:20], "provisional", 0.01).run > LIMITS.run


def test_equal_values_still_leave_room_for_what_matters_to_nobody() -> None:
    limits = limits_of([1.0] * 20, "provisional", 0.1)
    assert limits.sigma == 0.1
    assert not marks([1.0, 1.05], limits)


def test_a_gross_failure_among_the_first_cases_widens_no_limit() -> None:
    with_failure = [*BASELINE[:30], 60.0, *BASELINE[30:]]
    assert limits_of(with_failure, "set", 0.01).sigma == pytest.approx(SIGMA, rel=0.1)
    assert limits_of(with_failure, "set", 0.01).sure_high == 60.0, "others like it are no news either"


def test_values_of_which_many_are_far_off_are_all_kept() -> None:
    values = [0.0] * 14 + [30.0] * 6
    assert without_strays(values, 0.1) == values


def test_rule_1_is_a_value_beyond_a_limit() -> None:
    assert marks(at(0, 4), LIMITS) == (BEYOND,)
    assert marks(at(0, -4), LIMITS) == (BEYOND,)
    assert marks(at(4, 0), LIMITS) == ()


def test_rule_2_is_nine_in_a_row_on_one_side() -> None:
    near = (0.3, 0.1, 0.4, 0.2, 0.3, 0.1, 0.2, 0.4, 0.1)
    assert marks(at(*near), LIMITS) == (SIDE,)
    assert marks(at(*near[:8]), LIMITS) == ()
    assert marks(at(*near[:4], -0.1, *near[5:]), LIMITS) == ()


def test_rule_3_is_six_that_rise_or_fall_one_after_the_other() -> None:
    assert marks(at(-1, -0.6, -0.2, 0.1, 0.4, 0.9), LIMITS) == (STEADY,)
    assert marks(at(1, 0.6, 0.2, -0.1, -0.4, -0.9), LIMITS) == (STEADY,)
    assert marks(at(-0.6, -0.2, 0.1, 0.4, 0.9), LIMITS) == ()
    assert marks(at(-1, -0.6, -0.6, 0.1, 0.4, 0.9), LIMITS) == ()


def test_one_case_beyond_a_limit_alarms_nobody_and_four_of_seven_do() -> None:
    assert confirmed(at(0, 0, 0, 0, 9), LIMITS) == (0, 0)
    assert confirmed(at(0, 0, 9, 0, 9, 0, 9), LIMITS) == (0, 0)
    assert confirmed(at(9, 0, 9, 0, 9, 0, 9), LIMITS) == (1, 7)
    assert confirmed(at(-9, -9, -9, -9), LIMITS) == (-1, 4)
    assert confirmed(at(9, 0, -9, 0, 9, 9, -9), LIMITS) == (0, 0), "not to the same side"


def test_nine_on_one_side_alarm_only_where_their_mean_is_far_off() -> None:
    assert confirmed(at(*[0.3] * 9), LIMITS) == (0, 0)
    assert confirmed(at(*[2.2] * 9), LIMITS) == (1, 9)
    assert confirmed(at(*[-2.2] * 9), LIMITS) == (-1, 9)


def test_a_gross_failure_among_nine_on_one_side_is_no_drift() -> None:
    assert confirmed(at(0.3, 0.2, 20, 0.3, 0.2, 0.1, 0.4, 0.3, 0.2), LIMITS) == (0, 0)
