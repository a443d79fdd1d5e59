"""May a candidate serve? What it must have shown on live cases first. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from rtseg_daemon.config.sections import Promotion

JUDGED_BY = (("dsc", "Dice"), ("surface_dsc", "surface Dice"))
"""An organ is worse where either falls."""


def objections(comparison: Mapping[str, Any], demanded: Promotion) -> Iterator[str]:
    """Why B of a comparison (`comparing.comparison`) may not serve in A's place yet, empty where it may."""
    measured, cases = comparison["measured"], demanded.shadow_cases
    if measured < cases:
        yield f"it has {measured} shadow cases that were compared, and {cases} are demanded (models.promotion)"
    if lost := comparison["only_a"]:
        yield f"it does not contour {', '.join(lost)}, which the serving version does"
    judged = [organ for organ in comparison["organs"] if organ["approved"]["cases"]]
    if demanded.approved and measured >= cases > 0 and not judged:
        yield (
            "none of its shadow cases has an approved contour that a person edited, so nobody knows whether it is "
            "worse; let approved contours come back, or set models.promotion.approved: false"
        )
    for organ in judged:
        falls = [fall for name, words in JUDGED_BY if (fall := fallen(organ, name, words, demanded.margin))]
        if falls:
            yield f"{organ['organ']} is worse: {' and '.join(falls)}"


def fallen(organ: Mapping[str, Any], name: str, words: str, margin: float) -> str:
    """By how much an organ's figure falls, empty where it does not fall by more than the margin."""
    gain = organ["approved"]["difference"][name]
    if gain["mean"] is None or gain["mean"] >= -margin:
        return ""
    sure = f" [{gain['low']:+.3f} to {gain['high']:+.3f}]" if gain["low"] is not None else ""
    return f"{words} {gain['mean']:+.3f}{sure} on {gain['count']} approved cases, and the margin is {margin:g}"


def summary(comparison: Mapping[str, Any]) -> str:
    """What the cases said, in one line, for the record of an activation."""
    return (
        f"{comparison['measured']} shadow cases against {comparison['a']['version']}, "
        f"{comparison['approved']} of them approved"
    )
