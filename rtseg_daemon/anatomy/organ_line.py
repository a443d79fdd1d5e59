"""An organ's line read back: what it says in figures, also of results that were stored before these had keys."""

import re
from collections.abc import Mapping
from typing import Any

DICE = re.compile(r"dice=\d\.\d\d\[(\d\.\d\d)-(\d\.\d\d)\]")
SLICES = re.compile(r"slices=(\d{1,6})-(\d{1,6})")
REASON = ' reason="'


def whole_roi(roi: Mapping[str, Any]) -> dict[str, Any]:
    """A stored organ with `interval`, `slices` and `reasons`. What an older row lacks is read from its comment."""
    facts, _, reasons = str(roi.get("comment") or "").partition(REASON)
    told = {
        "interval": [float(one) for one in found.groups()] if (found := DICE.search(facts)) else None,
        "slices": [int(one) for one in found.groups()] if (found := SLICES.search(facts)) else None,
        "reasons": [one for one in reasons.removesuffix('"').split("; ") if one],
    }
    return told | dict(roi)
