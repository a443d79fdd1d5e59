"""From figures to claims: prediction, interval and probability, against values worked out by hand."""

import math

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Uncertainty
from rtseg_daemon.calibration import Calibration, Spread
from rtseg_daemon.segment.prediction import features, predict_dice, unacceptable

RESIDUALS = [(k - 9.5) / 10 for k in range(20)]
"""From -0.95 to 0.95, evenly."""
SPREAD = Spread(intercept=math.log(0.2), coefficients={"vvc": 0.0}, residuals=RESIDUALS)
CURVED = Calibration(intercept=0.0, coefficients={"vvc": -2.0}, link="logit", spread=SPREAD)


def test_predicted_dice_and_interval_are_linear_and_cut_to_the_possible() -> None:
    calibration = Calibration(intercept=0.2, coefficients={"pairwise_dice": 0.7}, half_width=0.1)
    dice, interval = predict_dice(calibration, {"pairwise_dice": 0.9})
    assert dice == pytest.approx(0.83)
    assert interval == pytest.approx((0.73, 0.93))
    assert predict_dice(calibration, {"pairwise_dice": 2.0}) == (1.0, (pytest.approx(0.9), 1.0))
    assert predict_dice(calibration, {}) == (None, None)
    assert predict_dice(None, {"pairwise_dice": 1.0}) == (None, None)


def test_a_logistic_prediction_never_leaves_0_to_1() -> None:
    for vvc, expected in [(0.0, 0.5), (-5.0, 1 / (1 + math.exp(-10))), (1e9, 0.0), (-1e9, 1.0)]:
        dice, interval = predict_dice(CURVED, {"vvc": vvc})
        assert dice == pytest.approx(expected, abs=1e-9)
        assert interval is not None
        assert 0 <= interval[0] <= interval[1] <= 1


def test_the_interval_leaves_a_twentieth_of_the_known_errors_on_either_side() -> None:
    dice, interval = predict_dice(CURVED, {"vvc": 0.0})
    assert dice == 0.5
    assert interval == pytest.approx((0.5 - 0.2 * 0.9, 0.5 + 0.2 * 0.9))


def test_errors_that_lie_on_one_side_make_an_interval_of_one_side() -> None:
    skewed = SPREAD.model_copy(update={"residuals": [-2.0, -1.5, -1.0, *[0.1] * 17]})
    dice, interval = predict_dice(CURVED.model_copy(update={"spread": skewed}), {"vvc": 0.0})
    assert dice is not None
    assert interval is not None
    assert dice - interval[0] > 5 * (interval[1] - dice) > 0


@pytest.mark.parametrize(("limit", "chance"), [(0.5, 0.5), (0.3, 0.0), (0.7, 1.0), (0.6, 0.75)])
def test_the_chance_of_an_unacceptable_contour_is_the_share_of_errors_that_reach_it(
    limit: float, chance: float
) -> None:
    assert unacceptable(CURVED, {"vvc": 0.0}, limit) == pytest.approx(chance, abs=0.03)


def test_nothing_is_claimed_without_a_spread_or_with_a_feature_missing() -> None:
    assert unacceptable(Calibration(intercept=0.5, coefficients={}), {}, 0.6) is None
    assert unacceptable(CURVED, {}, 0.6) is None
    assert unacceptable(None, {"vvc": 0.1}, 0.6) is None


def test_features_leave_out_what_is_not_known() -> None:
    assert features(Uncertainty(vvc=0.1), 0.0) == {"vvc": 0.1}
    assert features(Uncertainty(entropy=0.2), np.e) == {"entropy": 0.2, "log_volume": pytest.approx(1.0)}
    assert features(Uncertainty(), 0.0, {"place_z": 2.0}) == {"place_z": 2.0}
