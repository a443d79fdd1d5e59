"""What a bundle knows of its organs in the population, and of its own errors. Data only, read by whoever predicts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Normal = tuple[float, float]
"""Median and robust standard deviation over patients."""


class StrictModel(BaseModel):
    """Data that never changes, of a file in which a key that nobody knows is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OrganPrior(StrictModel):
    """How one organ looks in the patients that the bundle was made from, by the bundle's own contours of them.

    Args:
        log_volume: natural logarithm of its volume in ml.
        extent_mm: its extent along z, y and x.
        hu: median HU inside.
        contrast: median HU inside minus that of the tissue around it.
        continuity: mean Dice of neighbouring slices, 0 to 1.
        offsets: by the name of another organ, this one's centre minus the other's along z, y and x (mm).
        pair_hu: largest difference of median HU that was seen between this organ and the other side's, or None.
    """

    log_volume: Normal
    extent_mm: tuple[Normal, Normal, Normal]
    hu: Normal
    contrast: Normal
    continuity: Normal
    offsets: dict[str, tuple[Normal, Normal, Normal]] = Field(default_factory=dict)
    pair_hu: float | None = None


class Spread(StrictModel):
    """How far true Dice lies from the predicted one, more for some organs than for others.

    The scale of an organ's error is exp(intercept + sum_i coefficients[name_i] * feature_i). `residuals` are
    (true - predicted) / scale of organs whose truth was known, ascending, at evenly spaced levels (i + 0.5) / n.
    """

    intercept: float
    coefficients: dict[str, float]
    residuals: list[float] = Field(min_length=10)


class Calibration(StrictModel):
    """Regression from features to Dice.

    predicted Dice = g(intercept + sum_i coefficients[name_i] * feature_i), where g cuts to [0, 1] (`identity`) or is
    the logistic function (`logit`). Features are named as in `rtseg_daemon.segment.prediction`. With a `spread` the
    90 % interval and the probability of an unacceptable contour come from it. Without one the interval is predicted
    -/+ `half_width`.
    """

    intercept: float
    coefficients: dict[str, float]
    link: Literal["identity", "logit"] = "identity"
    half_width: float = 0.0
    spread: Spread | None = None
