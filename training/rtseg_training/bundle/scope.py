"""For which CTs a bundle was made: spacings, positions, manufacturers and slices, from the training set's manifest."""

from collections import Counter
from collections.abc import Sequence

from rtseg_daemon.bundles import Limits
from rtseg_training.learn.recipe import Bounds
from rtseg_training.sets.manifest import Entry

ROOM = 0.1
"""A spacing may lie so much outside those of the training cases, as a fraction: the next scanner is never the same."""


SHORTEST = 0.5
"""A CT with fewer slices than this share of the shortest training CT is held: much of what was learned is not in it."""


def spacings(entries: Sequence[Entry], axis: int) -> list[float]:
    """Millimetres along an axis (z, y, x), sorted."""
    return sorted(numbers(entry, "spacing_mm")[axis] for entry in entries)


def numbers(entry: Entry, key: str) -> list[float]:
    value = entry[key]
    assert isinstance(value, list)
    return [float(one) for one in value]


def limits_of(entries: Sequence[Entry], asked: Bounds) -> Limits:
    """What the training cases cover, with what the recipe says instead."""
    slices, pixels = spacings(entries, 0), spacings(entries, 2)
    positions = sorted({str(entry["position"]) for entry in entries if entry.get("position")})
    found = {
        "slice_spacing_mm": (round(slices[0] * (1 - ROOM), 3), round(slices[-1] * (1 + ROOM), 3)),
        "pixel_spacing_mm": (round(pixels[0] * (1 - ROOM), 3), round(pixels[-1] * (1 + ROOM), 3)),
        "minimum_slices": max(1, int(min(numbers(entry, "shape")[0] for entry in entries) * SHORTEST)),
    }
    given = asked.model_dump(exclude_none=True, exclude={"known"})
    return Limits.model_validate(({"positions": positions} if positions else {}) | found | given)


def facts_of(entries: Sequence[Entry]) -> dict[str, str]:
    """What the training CTs were, for the record and the card."""
    slices, pixels = spacings(entries, 0), spacings(entries, 2)
    counts = sorted(int(numbers(entry, "shape")[0]) for entry in entries)
    return {
        "training slice distances": f"{span(slices)} mm, median {slices[len(slices) // 2]:.3g}",
        "training pixels": f"{span(pixels)} mm, median {pixels[len(pixels) // 2]:.3g}",
        "training slices": f"{counts[0]} to {counts[-1]} a CT",
        "training positions": tally(entries, "position"),
        "training manufacturers": tally(entries, "manufacturer"),
    }


def span(values: Sequence[float]) -> str:
    return f"{values[0]:.3g} to {values[-1]:.3g}"


def tally(entries: Sequence[Entry], key: str) -> str:
    """How many CTs have which value, the most frequent first."""
    counts = Counter(str(entry.get(key) or "not known") for entry in entries)
    return ", ".join(f"{value} {count}" for value, count in counts.most_common())
