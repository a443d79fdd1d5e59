"""From HU to what a network sees: segmental linear functions."""

from collections.abc import Sequence
from itertools import pairwise

from rtseg_daemon.anatomy.arrays import Values, as_float, module_of

SLF_LEVELS = (0.0, 0.2, 0.8, 1.0)
"""Output levels of the segmental linear functions (seed paper, Eq. 1 as corrected)."""


KNOTS_HU: dict[str, tuple[float, ...]] = {
    "SLF1": (-500, -200, 200, 1500),
    "SLF2": (-500, -100, 100, 1500),
    "SLF3": (-500, -100, 400, 1500),
    "NLF1": (-100, 100),
    "NLF2": (-500, 800),
}
"""Knots h_1..h_K in HU of the paper's three SLFs and of the two naive linear functions it compares them with."""


GTV_KNOTS_HU = (-200.0, 700.0)


GTV_MEAN_HU, GTV_SD_HU = 66.0, 199.0
"""Mean and standard deviation of HU clipped to GTV_KNOTS_HU inside the bodies of OpenKBP's training patients.

The GTV paper (seed 002, 3.1) normalises "by the mean value and mean standard deviation". Constants of the data set and
not of the image: those of a patch, a window and a whole scan differ with the share of air in each, and one tissue would
look different to the network in training and in use.
"""


def intensity_knots(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots in HU and their output levels for SLF1-3, NLF1-2 and GTV. Raises KeyError for another name."""
    if name == "GTV":
        return GTV_KNOTS_HU, tuple((hu - GTV_MEAN_HU) / GTV_SD_HU for hu in GTV_KNOTS_HU)
    knots = KNOTS_HU[name]
    return knots, SLF_LEVELS if len(knots) == 4 else (0.0, 1.0)


def segmental_linear(hu: Values, knots: Sequence[float], levels: Sequence[float]) -> Values:
    """SLF: piecewise linear from HU to levels through (knots, levels), constant outside (seed paper, Eq. 1), float32.

    The sum over the segments of their slope times how far `hu` has come into each.
    """
    xp, hu = module_of(hu), as_float(hu)
    out = xp.full_like(hu, levels[0])
    for (low, first), (high, last) in pairwise(zip(knots, levels, strict=True)):
        out += (xp.clip(hu, low, high) - low) * ((last - first) / (high - low))
    return out
