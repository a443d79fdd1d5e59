"""The regression behind predicted Dice, on data whose law is known."""

import numpy as np
import pytest
from rtseg_training.measure.regression import fit_scale, fit_share, group_levels, levels_of


def drawn(count: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two groups with intercepts 1 and -1, one common slope of 2 and one figure that says nothing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2))
    group = rng.integers(0, 2, count)
    raw = np.where(group == 0, 1.0, -1.0) + 2.0 * x[:, 0]
    noise = rng.normal(size=count)
    return x, np.clip(1 / (1 + np.exp(-raw)) + 0.02 * noise, 0, 1), group, noise


def test_it_finds_the_law_that_made_the_shares() -> None:
    x, y, group, _ = drawn()
    line = fit_share(x, y, group, np.ones(len(y)), 2, (0.01, 10.0))
    assert line.intercepts == pytest.approx([1, -1], abs=0.1)
    assert line.slopes[:, 0] == pytest.approx([2, 2], abs=0.15)
    assert line.slopes[:, 1] == pytest.approx([0, 0], abs=0.05)
    assert np.abs(line.share(x, group) - y).mean() < 0.03


def test_rows_of_little_weight_count_little() -> None:
    x, y, group, _ = drawn()
    weights = np.where(np.arange(len(y)) < 1500, 1.0, 1e-6)
    wrong = np.where(np.arange(len(y)) < 1500, y, 1 - y)
    assert fit_share(x, wrong, group, weights, 2, (0.01, 10.0)).slopes[0, 0] == pytest.approx(2, abs=0.15)


def test_perfect_and_missed_organs_do_not_break_it() -> None:
    x = np.array([[0.0], [1.0]] * 20)
    line = fit_share(x, np.array([0.0, 1.0] * 20), np.zeros(40, int), np.ones(40), 1, (0.1, 1.0))
    low, high = line.share(np.array([[0.0], [1.0]]), np.zeros(2, int))
    assert low < 0.1 < 0.9 < high


def test_a_figure_that_never_changes_has_no_slope() -> None:
    x, y, group, _ = drawn()
    x[:, 1] = 7.0
    assert np.all(fit_share(x, y, group, np.ones(len(y)), 2, (0.1, 1.0)).slopes[:, 1] == 0)


def test_the_scale_of_an_error_follows_its_figure() -> None:
    x, _, group, noise = drawn()
    errors = noise * np.exp(-3 + 0.5 * x[:, 1])
    line = fit_scale(x, errors, group, np.ones(len(x)), 2, (0.1, 10.0))
    assert line.slopes[:, 1] == pytest.approx([0.45, 0.45], abs=0.1)  # ridge and the least error draw it in
    assert line.slopes[:, 0] == pytest.approx([0, 0], abs=0.1)


def test_levels_are_the_quantiles_and_weights_count() -> None:
    values = np.arange(1000.0)
    levels = levels_of(values, np.ones(1000), 20)
    assert levels == pytest.approx(np.quantile(values, (np.arange(20) + 0.5) / 20), abs=1)
    heavy = levels_of(values, np.where(values < 500, 1.0, 1e-9), 20)
    assert heavy.max() < 501


def test_a_group_with_few_errors_borrows_those_of_the_others() -> None:
    residuals = np.concatenate([np.full(5, 0.0), np.linspace(-1, 1, 200)])
    group = np.concatenate([np.zeros(5, int), np.ones(200, int)])
    few, many = group_levels(residuals, group, 2, 20, prior=15.0)
    assert few[0] < -0.5  # 15 of 20 come from the others
    assert many == pytest.approx(np.linspace(-0.95, 0.95, 20), abs=0.08)
