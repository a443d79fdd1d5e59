"""Two bundles on the same live cases: paired figures per organ, with intervals over patients. Pure.

Approved contours began as those of the bundle that served, and people change what disturbs them. So they favour that
bundle. A contour that was left as it was says nothing of either and is left out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array

Figures = Mapping[str, Any]
"""As feedback/difference.py gives them."""

MEASURES = ("dsc", "surface_dsc", "surface_dsc_2mm", "hd95_mm", "added_path_mm")
LARGER_IS_BETTER = ("dsc", "surface_dsc", "surface_dsc_2mm")
DRAWS = 2000
EVEN = 0.005
"""Of a Dice: one that differs by less is as good."""


@dataclass(frozen=True)
class Pair:
    """One organ of one case, as A and as B drew it.

    Args:
        case: the series.
        patient: whose it is: patients are drawn again, not cases.
        between: A's contour against B's.
        a, b: each against the approved contour, None where none counts or it was left as it was.
        untouched: whether an approved contour was left out for that.
    """

    case: int
    patient: str
    scanner: str
    organ: str
    between: Figures | None = None
    a: Figures | None = None
    b: Figures | None = None
    untouched: bool = False


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` cases, and the 95 % interval of it when patients are drawn again. None for fewer than two."""

    count: int
    mean: float | None
    low: float | None = None
    high: float | None = None


def compared(pairs: Sequence[Pair], seed: int = 0) -> list[dict[str, Any]]:
    """Every organ by name: A against B, and both against approved contours."""
    return [organ_shape(organ, some, seed) for organ, some in grouped(pairs, lambda pair: pair.organ)]


def by_scanner(pairs: Sequence[Pair], seed: int = 0) -> list[dict[str, Any]]:
    """The same for the cases of each scanner."""
    return [
        {"scanner": scanner, "cases": len({pair.case for pair in some}), "organs": compared(some, seed)}
        for scanner, some in grouped(pairs, lambda pair: pair.scanner)
    ]


def grouped(pairs: Iterable[Pair], key: Callable[[Pair], str]) -> list[tuple[str, list[Pair]]]:
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[key(pair)].append(pair)
    return sorted(found.items())


def organ_shape(organ: str, pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """One organ. `difference` is B minus A on the same cases: above 0 B is better, but for distances and lengths."""
    judged = [pair for pair in pairs if pair.a is not None and pair.b is not None]
    better, worse = counted(judged)
    return {
        "organ": organ,
        "cases": len(pairs),
        "between": estimates(pairs, lambda pair, name: figure(pair.between, name), seed),
        "approved": {
            "cases": len(judged),
            "untouched": sum(pair.untouched for pair in pairs),
            "a": estimates(judged, lambda pair, name: figure(pair.a, name), seed),
            "b": estimates(judged, lambda pair, name: figure(pair.b, name), seed),
            "difference": estimates(judged, gained, seed),
            "better": better,
            "worse": worse,
        },
    }


def estimates(pairs: Sequence[Pair], value_of: Callable[[Pair, str], float | None], seed: int) -> dict[str, Any]:
    """The estimate of every measure, as JSON."""
    found = {}
    for name in MEASURES:
        held = [(value, pair.patient) for pair in pairs if (value := value_of(pair, name)) is not None]
        found[name] = asdict(estimate([value for value, _ in held], [patient for _, patient in held], seed))
    return found


def figure(figures: Figures | None, name: str) -> float | None:
    value = figures.get(name) if figures is not None else None
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def gained(pair: Pair, name: str) -> float | None:
    """B's figure minus A's, or None where either lacks it."""
    a, b = figure(pair.a, name), figure(pair.b, name)
    return None if a is None or b is None else b - a


def counted(pairs: Iterable[Pair]) -> tuple[int, int]:
    """In how many cases B's surface Dice is better than A's, and in how many it is worse."""
    gains = [gain for pair in pairs if (gain := gained(pair, "surface_dsc")) is not None]
    return sum(gain > EVEN for gain in gains), sum(gain < -EVEN for gain in gains)


def estimate(values: Sequence[float], patients: Sequence[str], seed: int = 0) -> Estimate:
    """Mean of `values`, and its interval by the bootstrap over `patients`, whose value each is."""
    if not values:
        return Estimate(0, None)
    names = sorted(set(patients))
    number = {name: k for k, name in enumerate(names)}
    of = np.asarray([number[patient] for patient in patients])
    sums = np.bincount(of, weights=np.asarray(values, float), minlength=len(names))
    counts = np.bincount(of, minlength=len(names))
    mean = float(sums.sum() / counts.sum())
    if len(names) < 2:
        return Estimate(len(values), rounded(mean))
    low, high = np.percentile(drawn_again(sums, counts, seed), [2.5, 97.5])
    return Estimate(len(values), rounded(mean), rounded(low), rounded(high))


def drawn_again(sums: Array, counts: Array, seed: int) -> Array:
    """DRAWS means, each of as many patients as there are, drawn with replacement."""
    chosen = np.random.default_rng(seed).integers(0, len(sums), (DRAWS, len(sums)))
    return np.asarray(sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1))


def rounded(value: float) -> float:
    return round(float(value), 4)


def most_different(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """The organ that differs most of each of the `count` cases that differ most, by surface Dice between A and B."""
    worst: dict[int, tuple[float, Pair]] = {}
    for pair in pairs:
        alike = figure(pair.between, "surface_dsc")
        if alike is not None and (pair.case not in worst or alike < worst[pair.case][0]):
            worst[pair.case] = (alike, pair)
    return [pair for _, pair in sorted(worst.values(), key=lambda one: (one[0], one[1].case))[:count]]
