"""Ranking, regression, conformal intervals and the figures of a flag, on cases small enough to check by hand."""

import math

import numpy as np
import pytest
from rtseg_training.measure import statistics as st


def test_folds_are_even_and_repeatable() -> None:
    folds = st.folds_of(33, 8)
    assert sorted(np.bincount(folds)) == [4] * 7 + [5]
    assert np.array_equal(folds, st.folds_of(33, 8))
    assert set(st.folds_of(3, 8).tolist()) == {0, 1, 2}


def test_all_cts_of_a_patient_are_in_one_fold() -> None:
    patients = ["p1", "p2", "p1", "p3", "p4", "p2", "p1"]
    folds = st.folds_of_groups(patients, 4)
    assert all(len({int(f) for f, who in zip(folds, patients, strict=True) if who == one}) == 1 for one in patients)
    assert len(set(folds.tolist())) == 4
    names = [f"case{k}" for k in range(33)]
    assert np.array_equal(st.folds_of_groups(names, 8), st.folds_of(33, 8))


def test_members_are_ranked_per_organ() -> None:
    scores = np.array([[[0.5, 0.9], [0.7, 0.8], [0.6, 0.1]], [[0.5, np.nan], [0.7, np.nan], [0.6, np.nan]]])
    weights = st.rank_weights(scores, (5, 4, 3, 1, 1, 1))
    assert weights.T.tolist() == [[3, 5, 4], [5, 4, 3]]


def test_an_organ_nobody_has_weighs_members_alike() -> None:
    assert st.rank_weights(np.full((4, 2, 1), np.nan), (5, 4, 3)).tolist() == [[1], [1]]


def test_ridge_finds_a_common_slope_and_own_intercepts() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 200)
    x = rng.normal(size=(400, 2))
    y = np.array([0.6, 0.4])[group] + 0.05 * x[:, 0]
    model = st.fit_ridge(x, y, group, 2, common=1.0, own=100.0)
    assert model.intercepts == pytest.approx([0.6, 0.4], abs=0.01)
    assert model.slopes[:, 0] == pytest.approx([0.05, 0.05], abs=0.002)
    assert np.abs(model.slopes[:, 1]).max() < 0.002


def test_ridge_gives_an_organ_its_own_slope_where_the_data_insist() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat([0, 1], 300)
    x = rng.normal(size=(600, 1))
    y = 0.5 + np.array([0.1, -0.1])[group] * x[:, 0]
    model = st.fit_ridge(x, y, group, 2, common=1.0, own=1.0)
    assert model.slopes[:, 0] == pytest.approx([0.1, -0.1], abs=0.01)


def test_cases_with_a_wrong_truth_do_not_bend_the_line() -> None:
    rng = np.random.default_rng(3)
    group = np.zeros(100, int)
    x = rng.normal(size=(100, 1))
    y = 0.8 + 0.05 * x[:, 0]
    y[:8] = 0.1
    model = st.fit_ridge(x, y, group, 1, common=1.0, own=100.0)
    assert model.intercepts[0] == pytest.approx(0.8, abs=0.02)
    assert model.slopes[0, 0] == pytest.approx(0.05, abs=0.01)


def test_predictions_stay_between_zero_and_one() -> None:
    model = st.Ridge(np.array([0.5]), np.array([[10.0]]))
    assert model.predict(np.array([[1.0], [-1.0]]), np.array([0, 0])).tolist() == [1.0, 0.0]


def test_conformal_quantile_by_hand() -> None:
    assert st.conformal_quantile(np.arange(1, 20) / 10, 0.9) == pytest.approx(1.8)  # ceil(20 * 0.9) = 18th of 19
    assert st.conformal_quantile(np.array([0.1, 0.2]), 0.9) == pytest.approx(0.2)


def test_conformal_intervals_cover_new_cases_as_promised() -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(300):
        group = rng.integers(0, 3, 60)
        scale = np.array([0.02, 0.05, 0.1])[group]
        residuals = np.abs(rng.normal(size=60)) * scale
        half = st.half_widths(residuals[:-1], group[:-1], 3, 0.9)
        covered.append(residuals[-1] <= half[group[-1]])
    assert 0.86 <= float(np.mean(covered)) <= 0.95


def test_an_uncertain_organ_gets_a_wider_interval() -> None:
    residuals, group = np.array([0.01] * 20 + [0.1] * 20), np.repeat([0, 1], 20)
    half = st.half_widths(residuals, group, 2, 0.9)
    assert half[1] > 2 * half[0]


def test_auroc_by_hand() -> None:
    bad = np.array([True, False, True, False])
    assert st.auroc(np.array([4.0, 3.0, 2.0, 1.0]), bad) == pytest.approx(0.75)
    assert st.auroc(np.array([1.0, 1.0, 1.0, 1.0]), bad) == pytest.approx(0.5)
    assert math.isnan(st.auroc(np.arange(4.0), np.zeros(4, bool)))


def test_aurc_by_hand() -> None:
    # in order of suspicion the risks are 0, 0, 1: cumulated means 0, 0, 1/3
    assert st.aurc(np.array([3.0, 1.0, 2.0]), np.array([1.0, 0.0, 0.0])) == pytest.approx(1 / 9)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.1])
    correct = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    assert st.calibration_error(confidence, correct, 10) == pytest.approx((4 * 0.4 + 0.1) / 5)


def test_bootstrap_draws_patients_not_organs() -> None:
    """Ten patients of ten organs that stand or fall together vary more than a hundred organs would."""
    values = np.repeat([1.0] * 9 + [0.0], 10)
    low, high = st.bootstrap_interval(values, np.repeat(np.arange(10), 10))
    assert low <= 0.75
    assert high == pytest.approx(1.0)
