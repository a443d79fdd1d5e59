"""Charts of what is so or not so, and whether predicted intervals hold."""

import random

import pytest
from scipy import stats

from rtseg_daemon.upkeep.drift.chart import Point
from rtseg_daemon.upkeep.drift.coverage import Foretold, at_least, coverage
from rtseg_daemon.upkeep.drift.shares import Known, Ten, share_chart


def cases(count: int, share: float, seed: int = 1, version: str = "1.5", first: int = 0) -> list[Point]:
    chance = random.Random(seed)
    return [Point(86400.0 * k, k, version, float(chance.random() < share)) for k in range(first, first + count)]


def alarmed(tens: list[Ten]) -> list[int]:
    return [ten.alarm_case for ten in tens if ten.alarm_case is not None]


@pytest.mark.parametrize(("so", "of"), [(0, 20), (3, 50), (20, 150)])
def test_chances_are_those_of_the_beta_binomial_distribution(so: int, of: int) -> None:
    exact = stats.betabinom(15, so + 0.5, of - so + 0.5)
    known = Known(so, of, "set")
    for count in (0, 1, 4, 9, 15):
        assert known.at_least(count, 15) == pytest.approx(exact.sf(count - 1), abs=1e-9)
        assert known.at_most(count, 15) == pytest.approx(exact.cdf(count), abs=1e-9)


def test_tens_have_a_share_and_limits_from_20_cases_on() -> None:
    tens = share_chart(cases(60, 0.2))
    assert [len(ten.points) for ten in tens] == [10] * 6
    assert [ten.known is None for ten in tens] == [True, True, False, False, False, False]
    assert tens[-1].known.stage == "set"  # type: ignore[union-attr]
    assert all(ten.beyond == 0 for ten in tens)


def test_flags_that_become_frequent_alarm_within_15_cases_and_once() -> None:
    found = alarmed(share_chart(cases(60, 0.1) + cases(40, 0.8, 2, first=60)))
    assert len(found) == 1
    assert 60 <= found[0] < 75


def test_contours_that_are_no_longer_left_alone_alarm_to_the_other_side() -> None:
    tens = share_chart(cases(60, 0.8) + cases(20, 0.0, first=60))
    assert [ten.alarm for ten in tens if ten.alarm] == [-1]


def test_a_new_version_is_compared_with_the_one_before_it() -> None:
    tens = share_chart(cases(60, 0.1) + cases(15, 0.9, 2, "1.6", 60))
    assert len(alarmed(tens)) == 1
    assert [ten.carried for ten in tens if ten.points[0].version == "1.6"] == [True, True]
    assert len(tens[-1].points) == 5


def foretold(count: int, below: float, seed: int = 1) -> list[Foretold]:
    chance = random.Random(seed)
    return [
        Foretold(86400.0 * k, k, 0.7, 0.9, 0.6 if chance.random() < below else 0.85 if k % 3 else 1.0, k % 3 == 0)
        for k in range(count)
    ]


def test_coverage_counts_what_lies_in_the_interval_below_and_above() -> None:
    found = coverage(foretold(90, 0.0))
    assert (found.cases, found.within, found.below, found.above, found.untouched) == (90, 60, 0, 30, 30)
    assert found.alarm_case is None


def test_an_interval_that_promises_too_much_alarms_and_one_that_holds_does_not() -> None:
    broken = coverage(foretold(100, 0.4))
    assert broken.told
    assert broken.alarm_case is not None
    assert broken.alarm_case < 40
    held = [coverage(foretold(300, 0.05, seed)) for seed in range(30)]
    assert sum(one.alarm_case is not None for one in held) <= 1


def test_too_few_cases_tell_nothing_of_coverage() -> None:
    assert coverage(foretold(15, 1.0)).alarm_case is None
    assert coverage([]).cases == 0


def test_the_chance_of_so_many_below_is_binomial() -> None:
    assert at_least(8, 50, 0.05) == pytest.approx(stats.binom.sf(7, 50, 0.05))
