"""Charts for single values: which limits are in force when, and what happens after an alarm."""

import random

from rtseg_daemon.upkeep.drift.chart import Judged, Point, chart
from rtseg_daemon.upkeep.drift.measures import BY_KEY, MEASURES, values_of_ours, values_of_returned

SIGNED = BY_KEY["mean_signed_distance_mm"]


def steady(count: int, centre: float = 0.0, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [centre + chance.gauss(0.0, 0.5) for _ in range(count)]


def judged(values: list[float], versions: list[str] | None = None) -> list[Judged]:
    named = versions or ["1.5"] * len(values)
    return chart([Point(86400.0 * k, k, named[k], value) for k, value in enumerate(values)], SIGNED)


def stages(found: list[Judged]) -> list[str | None]:
    return [one.limits.stage if one.limits else None for one in found]


def alarmed(found: list[Judged]) -> list[int]:
    return [one.point.case for one in found if one.alarm]


def test_limits_are_provisional_from_20_set_at_50_and_anew_at_150() -> None:
    found = stages(judged(steady(160)))
    assert found[19] is None
    assert [found[k] for k in (20, 49, 50, 149, 150)] == ["provisional", "provisional", "set", "set", "set anew"]
    assert [one.limits.cases for one in judged(steady(160)) if one.limits][-1] == 150


def test_a_shift_alarms_once_and_again_after_it_has_calmed_down() -> None:
    found = alarmed(judged(steady(60) + steady(30, 3.0, 2) + steady(40, 0.0, 3) + steady(30, 3.0, 4)))
    assert len(found) == 2
    assert 60 <= found[0] < 75
    assert 130 <= found[1] < 145


def test_cases_of_a_drift_make_no_limits() -> None:
    found = judged(steady(40) + steady(60, 3.0, 2))
    assert len(alarmed(found)) == 1
    assert found[-1].apart
    assert stages(found)[-1] == "provisional", "50 cases without those of the drift there never were"
    assert abs(found[-1].limits.centre) < 0.5  # type: ignore[union-attr]


def test_a_run_on_one_side_makes_no_limits_even_before_it_alarms() -> None:
    run = [0.35] * 12
    found = judged(steady(30) + run + steady(40, 0.0, 3))
    assert not alarmed(found)
    assert stages(found).index("set") >= 50 + len(run)


def test_a_new_version_is_judged_by_the_limits_before_it_until_it_has_its_own() -> None:
    values = steady(60) + steady(30, 3.0, 2)
    found = judged(values, ["1.5"] * 60 + ["1.6"] * 30)
    assert found[60].carried
    assert len(alarmed(found)) == 1
    assert 60 <= alarmed(found)[0] < 75
    assert not found[80].carried
    assert found[80].limits.centre > 2.5  # type: ignore[union-attr]
    assert not found[-1].alarm


def test_a_version_that_serves_again_has_its_own_limits_again() -> None:
    values = steady(60) + steady(25, 3.0, 2) + steady(10, 0.0, 3)
    found = judged(values, ["1.5"] * 60 + ["1.6"] * 25 + ["1.5"] * 10)
    assert found[-1].limits is not None
    assert not found[-1].carried
    assert abs(found[-1].limits.centre) < 0.5
    assert len(alarmed(found)) == 1


def test_what_is_said_of_a_case_does_not_change_when_others_come() -> None:
    values = steady(70) + steady(20, 3.0, 2)
    whole = judged(values)
    for count in (25, 60, 80):
        part = judged(values[:count])
        assert [(one.limits, one.marks, one.alarm) for one in part] == [
            (one.limits, one.marks, one.alarm) for one in whole[:count]
        ]


def test_a_jump_from_one_case_to_the_next_is_marked_in_the_moving_range() -> None:
    found = judged([*steady(30), 4.0, 0.0])
    assert found[30].range_high
    assert not any(one.range_high for one in found[20:30])


def test_values_come_back_from_the_scale_they_are_charted_on() -> None:
    for measure in MEASURES:
        for value in (0.1, 0.5, 0.9):
            assert abs(measure.scale.back(measure.scale.there(value)) - value) < 1e-9, measure.key


def test_a_job_and_a_difference_give_every_measure_and_none_where_nothing_is_known() -> None:
    ours = values_of_ours({"volume_ml": 12.0, "vvc": None, "predicted_dice": 0.8, "flag": "REVIEW"})
    assert ours == {"volume_ml": 12.0, "predicted_dice": 0.8, "flagged": 1.0}
    assert values_of_ours({"volume_ml": 0.0, "flag": "OK"}) == {"flagged": 0.0}
    returned = values_of_returned(
        {
            "dsc": 0.9,
            "surface_dsc_2mm": 0.8,
            "surface_dsc": 0.9,
            "added_path_mm": 20.0,
            "hd95_mm": None,
            "mean_signed_distance_mm": 0.4,
            "volume_ml": 12.0,
            "our_volume_ml": 10.0,
            "untouched": 0.5,
            "untouched_whole": False,
            "edited": {"inferior": 2.0, "superior": None},
        }
    )
    assert returned["volume_ratio"] == 1.2
    assert returned["edited_inferior"] == 2.0
    assert "hd95_mm" not in returned
    assert "edited_superior" not in returned
    assert {measure.key for measure in MEASURES} >= {*ours, *returned}
