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


def test_a_figure_varies_with_the_patients_that_are_drawn() -> None:
    patient = np.array(["a", "a", "b", "c"])
    values = np.array([1.0, 1.0, 0.0, 0.0])
    low, high = st.bootstrap_of(lambda at: float(values[at].mean()), patient)
    assert (low, high) == (0.0, 1.0)
    assert st.bootstrap_of(lambda at: float(len(at)), np.array(["a", "a"])) == (2.0, 2.0)
    undefined = st.bootstrap_of(lambda at: float("nan"), patient)
    assert all(np.isnan(undefined))
