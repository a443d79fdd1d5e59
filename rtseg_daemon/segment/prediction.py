"""From figures to claims: predicted Dice, its interval, and how likely a contour is not acceptable. Pure."""

import math
from collections.abc import Mapping

import numpy as np

from rtseg_daemon.anatomy.organ import Uncertainty
from rtseg_daemon.calibration import Calibration, Spread
from rtseg_daemon.segment.appearance import UNUSUAL

DISAGREEMENT = ("vvc", "entropy", "pairwise_dice", "soft_entropy", "mutual_information", "expected_dice")
"""Fields of `Uncertainty`."""

FEATURES = (*DISAGREEMENT, "log_volume", *UNUSUAL)
"""Names that a calibration may use. `log_volume` is the natural logarithm of the volume in ml."""

COVERAGE = 0.9
"""Share of the intervals that hold the true Dice."""


def features(
    uncertainty: Uncertainty, volume_ml: float, appearance: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The figures a calibration works on. What is not known is left out."""
    known = {name: getattr(uncertainty, name) for name in DISAGREEMENT}
    out = {name: float(value) for name, value in known.items() if value is not None}
    if volume_ml > 0:
        out["log_volume"] = math.log(volume_ml)
    return out | dict(appearance or {})


def known_to(calibration: Calibration | None, figures: Mapping[str, float]) -> bool:
    """Whether `figures` hold every feature that the calibration asks for."""
    if calibration is None:
        return False
    asked = calibration.coefficients.keys() | (calibration.spread.coefficients.keys() if calibration.spread else set())
    return asked <= figures.keys()


def predict_dice(
    calibration: Calibration | None, figures: Mapping[str, float]
) -> tuple[float | None, tuple[float, float] | None]:
    """Predicted Dice and its 90 % interval. (None, None) without a calibration or where a feature is missing."""
    if calibration is None or not known_to(calibration, figures):
        return None, None
    raw = calibration.intercept + weighted(calibration.coefficients, figures)
    dice = logistic(raw) if calibration.link == "logit" else min(1.0, max(0.0, raw))
    if calibration.spread is None:
        return dice, (max(0.0, dice - calibration.half_width), min(1.0, dice + calibration.half_width))
    return dice, interval(dice, scale_of(calibration.spread, figures), calibration.spread)


def interval(dice: float, scale: float, spread: Spread) -> tuple[float, float]:
    """The COVERAGE interval around a predicted Dice, as much on either side as errors of that side ask for."""
    low, high = reach_of(spread)
    return min(1.0, max(0.0, dice + low * scale)), min(1.0, max(0.0, dice + high * scale))


def reach_of(spread: Spread) -> tuple[float, float]:
    """Where the COVERAGE interval begins and ends, in scales of the error from the prediction."""
    levels = (np.arange(len(spread.residuals)) + 0.5) / len(spread.residuals)
    tail = (1 - COVERAGE) / 2
    low, high = np.interp([tail, 1 - tail], levels, spread.residuals)
    return float(low), float(high)


def unacceptable(calibration: Calibration | None, figures: Mapping[str, float], acceptable: float) -> float | None:
    """Probability that the true Dice is below `acceptable`. None without a spread or where a feature is missing."""
    if calibration is None or calibration.spread is None or not known_to(calibration, figures):
        return None
    dice, _ = predict_dice(calibration, figures)
    assert dice is not None
    return probability_below(acceptable, dice, scale_of(calibration.spread, figures), calibration.spread)


def probability_below(limit: float, dice: float, scale: float, spread: Spread) -> float:
    """Share of the known errors that would put the true Dice below `limit`, interpolated between them."""
    residuals = np.asarray(spread.residuals)
    levels = (np.arange(len(residuals)) + 0.5) / len(residuals)
    return float(np.interp((limit - dice) / scale, residuals, levels, left=0.0, right=1.0))


def scale_of(spread: Spread, figures: Mapping[str, float]) -> float:
    """The scale of an organ's error, within bounds that no figures can leave."""
    return math.exp(min(0.0, max(-5.0, spread.intercept + weighted(spread.coefficients, figures))))


def weighted(coefficients: Mapping[str, float], figures: Mapping[str, float]) -> float:
    """Sum of the named figures, each times its coefficient."""
    return sum(k * figures[name] for name, k in coefficients.items())


def logistic(raw: float) -> float:
    """1 / (1 + exp(-raw)), for any `raw`."""
    return 1.0 / (1.0 + math.exp(-min(30.0, max(-30.0, raw))))
