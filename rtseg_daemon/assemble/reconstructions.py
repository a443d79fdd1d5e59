"""Several reconstructions of one scan: which one is segmented. Pure.

A route with `prefer` takes, of all CT series of one study that it matches, the one whose description fits the earliest
pattern, among equals the one with the thinnest slices, then the one received first. The others are kept and listed.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One series of the study. `thickness_mm` is None where the images do not say."""

    series_id: int
    description: str
    thickness_mm: float | None
    silence_seconds: float


def preferred(candidates: Iterable[Candidate], patterns: Sequence[str]) -> Candidate:
    """The best of them. Raises ValueError if there is none."""
    return min(candidates, key=lambda one: (rank(one.description, patterns), one.thickness_mm or 99.0, one.series_id))


def rank(description: str, patterns: Sequence[str]) -> int:
    """Number of the first pattern that is found in the description, or one past the last if none is."""
    return next((k for k, p in enumerate(patterns) if re.search(p, description, re.IGNORECASE)), len(patterns))


def still_coming(candidates: Iterable[Candidate], quiet_seconds: float) -> bool:
    """Whether one of them is still being received, so that nobody can choose yet."""
    return any(one.silence_seconds < quiet_seconds for one in candidates)
