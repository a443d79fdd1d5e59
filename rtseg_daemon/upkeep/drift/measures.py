"""What is charted of an organ: each measure with its unit, and the scale on which its values spread evenly."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Source = Literal["ours", "returned"]
DIRECTIONS = ("superior", "inferior", "left", "right", "anterior", "posterior")
LEAST_SHARE = 0.005
"""Shares are kept this far from 0 and 1, where the logit has no value."""


@dataclass(frozen=True)
class Scale:
    """A scale and the way back: `there` from the measure to the scale, `back` from the scale to the measure."""

    there: Callable[[float], float]
    back: Callable[[float], float]


def logit(share: float) -> float:
    kept = min(1.0 - LEAST_SHARE, max(LEAST_SHARE, share))
    return math.log(kept / (1.0 - kept))


def logistic(raw: float) -> float:
    return 1.0 / (1.0 + math.exp(-raw)) if raw > -700 else 0.0


def logarithmic(offset: float) -> Scale:
    """The logarithm of what is `offset` larger, so that 0 has a place."""
    return Scale(lambda value: math.log(max(value, 0.0) + offset), lambda raw: math.exp(min(raw, 700.0)) - offset)


AS_IT_IS = Scale(float, float)
SHARE = Scale(logit, logistic)
BOUNDED = Scale(float, lambda raw: min(1.0, max(0.0, raw)))
"""A share that often is 0: as it is, and no limit lies outside."""


@dataclass(frozen=True)
class Measure:
    """One measure.

    Args:
        key: as the ledger, `--json` and CSV call it.
        label: as people call it.
        unit: `ml`, `mm` or empty.
        source: `ours` needs no feedback, `returned` does.
        scale: where limits are computed.
        least_sigma: on that scale, the least spread that is believed: smaller changes matter to nobody.
        digits: shown after the point.
        is_share: whether each case is a yes or no, and what is charted is how often.
    """

    key: str
    label: str
    unit: str
    source: Source
    scale: Scale
    least_sigma: float
    digits: int = 2
    is_share: bool = False


MEASURES = (
    Measure("flagged", "not OK", "", "ours", AS_IT_IS, 0.0, 2, True),
    Measure("volume_ml", "volume", "ml", "ours", logarithmic(0.05), 0.02, 1),
    Measure("vvc", "VVC", "", "ours", logarithmic(0.01), 0.05, 3),
    Measure("predicted_dice", "predicted Dice", "", "ours", SHARE, 0.05, 3),
    Measure("mean_signed_distance_mm", "mean signed distance", "mm", "returned", AS_IT_IS, 0.1, 2),
    Measure("surface_dsc_2mm", "surface Dice at 2 mm", "", "returned", SHARE, 0.15, 3),
    Measure("surface_dsc", "surface Dice", "", "returned", SHARE, 0.15, 3),
    Measure("dsc", "Dice", "", "returned", SHARE, 0.15, 3),
    Measure("added_path_mm", "added path", "mm", "returned", logarithmic(50.0), 0.15, 0),
    Measure("hd95_mm", "HD95", "mm", "returned", logarithmic(1.0), 0.1, 1),
    Measure("volume_ratio", "volume, theirs over ours", "", "returned", logarithmic(0.0001), 0.02, 2),
    Measure("untouched", "slices left as they were", "", "returned", BOUNDED, 0.05, 2),
    Measure("left_alone", "left as it was", "", "returned", AS_IT_IS, 0.0, 2, True),
    *(Measure(f"edited_{where}", f"edited {where}", "mm", "returned", AS_IT_IS, 0.2, 2) for where in DIRECTIONS),
)
BY_KEY = {measure.key: measure for measure in MEASURES}


def values_of_ours(roi: Mapping[str, Any]) -> dict[str, float]:
    """Measure -> value of one organ as a job has it. What is not known is left out."""
    found: dict[str, Any] = {key: roi.get(key) for key in ("volume_ml", "vvc", "predicted_dice")}
    if not found["volume_ml"]:
        found["volume_ml"] = None  # nothing was found: the flag tells of it
    if roi.get("flag"):
        found["flagged"] = float(roi["flag"] != "OK")
    return known(found)


def values_of_returned(difference: Mapping[str, Any]) -> dict[str, float]:
    """Measure -> value of one contour that came back, from its `difference`. What is not known is left out.

    One that was left as it was tells that alone. Its zeros are no edits, and would hide how large edits are.
    """
    if difference.get("untouched_whole"):
        return {"left_alone": 1.0}
    keys = ("surface_dsc_2mm", "surface_dsc", "dsc", "added_path_mm", "hd95_mm", "mean_signed_distance_mm", "untouched")
    found: dict[str, Any] = {key: difference.get(key) for key in keys}
    ours, theirs = difference.get("our_volume_ml"), difference.get("volume_ml")
    if ours and theirs:
        found["volume_ratio"] = theirs / ours
    found["left_alone"] = 0.0
    edited = difference.get("edited") or {}
    return known(found | {f"edited_{where}": edited.get(where) for where in DIRECTIONS})


def known(found: Mapping[str, Any]) -> dict[str, float]:
    """What is a finite number."""
    return {
        key: float(value)
        for key, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
