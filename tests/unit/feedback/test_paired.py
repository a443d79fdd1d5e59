"""Two bundles on the same cases: what is paired with what, what counts, and how sure it is."""

from dataclasses import replace

import numpy as np
import pytest

from rtseg_daemon.feedback.paired import Pair, by_scanner, compared, estimate, most_different


def figures(dsc: float, surface: float | None = None, hd95: float | None = 2.0) -> dict[str, float | None]:
    return {"dsc": dsc, "surface_dsc": dsc if surface is None else surface, "hd95_mm": hd95}


def pair(case: int, a: float | None, b: float | None, organ: str = "Larynx", **other: object) -> Pair:
    facts: dict[str, object] = {
        "patient": f"P{case}",
        "scanner": "S",
        "between": figures(0.9),
        "a": None if a is None else figures(a),
        "b": None if b is None else figures(b),
    }
    return Pair(case=case, organ=organ, **(facts | other))  # type: ignore[arg-type]


def test_the_same_cases_are_paired_and_an_even_gain_is_sure_though_cases_differ_much() -> None:
    """Unpaired, the spread between cases would hide it."""
    a = np.random.default_rng(1).uniform(0.5, 0.9, 40)
    (larynx,) = compared([pair(k, value, value + 0.02) for k, value in enumerate(a)])
    gain = larynx["approved"]["difference"]["dsc"]
    assert gain == {"count": 40, "mean": 0.02, "low": 0.02, "high": 0.02}
    spread = larynx["approved"]["a"]["dsc"]
    assert spread["high"] - spread["low"] > 0.04
    assert (larynx["approved"]["better"], larynx["approved"]["worse"]) == (40, 0)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        values = chance.normal(0.01, 0.05, 40)
        found = estimate(list(values), [str(k) for k in range(40)])
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.01 <= found.high
    assert 0.90 <= held / 200 <= 0.98


def test_patients_are_drawn_again_and_not_their_cases() -> None:
    """Ten cases of two patients know no more than two patients."""
    values = [0.1] * 5 + [0.3] * 5
    of_ten = estimate(values, [str(k) for k in range(10)])
    of_two = estimate(values, ["x"] * 5 + ["y"] * 5)
    assert of_two.mean == of_ten.mean == 0.2
    assert (of_two.low, of_two.high) == (0.1, 0.3)
    assert of_ten.low is not None
    assert of_ten.low > 0.1


def test_what_was_left_as_it_was_is_counted_and_judges_nobody() -> None:
    (larynx,) = compared([pair(1, 0.8, 0.9), pair(2, None, None, untouched=True), pair(3, None, None)])
    assert larynx["cases"] == 3
    assert (larynx["approved"]["cases"], larynx["approved"]["untouched"]) == (1, 1)
    assert larynx["between"]["dsc"]["count"] == 3


def test_a_missed_organ_counts_as_missed_and_lacks_distances_alone() -> None:
    missed = figures(0.0, 0.0, None)
    (larynx,) = compared([replace(pair(1, 0.8, None), b=missed), pair(2, 0.8, 0.8)])
    assert larynx["approved"]["difference"]["dsc"]["mean"] == pytest.approx(-0.4)
    assert larynx["approved"]["difference"]["hd95_mm"]["count"] == 1


def test_scanners_and_organs_stand_by_themselves() -> None:
    pairs = [pair(1, 0.8, 0.9, scanner="X"), pair(2, 0.8, 0.6, scanner="Y"), pair(2, 0.7, 0.7, "Cord", scanner="Y")]
    assert [one["organ"] for one in compared(pairs)] == ["Cord", "Larynx"]
    found = {one["scanner"]: one for one in by_scanner(pairs)}
    assert found["X"]["organs"][0]["approved"]["difference"]["dsc"]["mean"] == pytest.approx(0.1)
    assert [one["organ"] for one in found["Y"]["organs"]] == ["Cord", "Larynx"]
    assert found["Y"]["cases"] == 1


def test_nothing_to_compare_is_no_figure() -> None:
    (larynx,) = compared([pair(1, None, None, between=None)])
    assert larynx["between"]["dsc"] == {"count": 0, "mean": None, "low": None, "high": None}
    assert estimate([0.5], ["x"]).low is None, "one patient tells no spread"


def test_the_cases_that_differ_most_come_first_each_with_its_worst_organ() -> None:
    pairs = [
        pair(1, None, None, between=figures(0.9, 0.95)),
        pair(1, None, None, "Cord", between=figures(0.9, 0.2)),
        pair(2, None, None, between=figures(0.9, 0.1)),
        pair(3, None, None, between=None),
        pair(4, None, None, between=figures(0.9, 0.7)),
    ]
    assert [(one.case, one.organ) for one in most_different(pairs, 2)] == [(2, "Larynx"), (1, "Cord")]
    assert len(most_different(pairs, 10)) == 3
