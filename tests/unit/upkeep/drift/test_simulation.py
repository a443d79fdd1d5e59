"""Departments made up from masks: a drift is told within 15 cases, and in 300 without one hardly anything is."""

import pytest

from rtseg_daemon.upkeep.drift.measures import MEASURES
from tests.drifting import (
    GROWN,
    MOVED,
    SWAPPED,
    USUAL,
    Values,
    World,
    alarms_of,
    cases,
    drawn,
    first_alarm,
    naive_alarms,
)

SEED = 20261127
DEPARTMENTS = 12
DRIFTS = {"2 mm larger all around": GROWN, "2 mm to the left": MOVED, "another bundle": SWAPPED}


@pytest.fixture(scope="module")
def usual() -> list[Values]:
    """Three hundred patients as they are."""
    return cases(USUAL, 300, SEED)


@pytest.fixture(scope="module", params=DRIFTS)
def drifted(request: pytest.FixtureRequest) -> list[Values]:
    world: World = DRIFTS[request.param]
    return cases(world, 50, SEED + 1 + list(DRIFTS).index(request.param))


def test_three_hundred_cases_without_a_drift_alarm_at_most_once_in_any_chart(usual: list[Values]) -> None:
    told = alarms_of(usual)
    assert max(len(found) for found in told.values()) <= 1
    assert sum(len(found) for found in told.values()) <= 1, "all charts of the organ together"
    naive = [naive_alarms(usual, measure) for measure in MEASURES if not measure.is_share]
    assert min(naive) > 1, "Nelson's rules alone would have told more often"


def test_many_departments_of_three_hundred_cases_have_less_than_one_false_alarm_an_organ(usual: list[Values]) -> None:
    counts = [sum(map(len, alarms_of(drawn(usual, 300, seed)).values())) for seed in range(DEPARTMENTS)]
    assert sum(counts) / DEPARTMENTS < 1.0


@pytest.mark.parametrize("before", [40, 60, 150])
def test_a_drift_is_told_within_15_cases(usual: list[Values], drifted: list[Values], before: int) -> None:
    """Whether or not the bundle says that it is another version. Of 40 contours some 30 were edited and make limits."""
    for seed in range(6):
        for version in ("1.5", "1.6"):
            found = first_alarm(drawn(usual, before, seed), drawn(drifted, 15, seed), version)
            assert found is not None, (seed, version)
            assert found <= 15
