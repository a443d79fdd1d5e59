"""How organs look in the population: learned from the true contours of the training cases, on the network's grid."""

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import permutations

import numpy as np

from rtseg_daemon.anatomy.organ import Appearance
from rtseg_daemon.anatomy.sides import twin_of
from rtseg_daemon.anatomy.volume import bounding_box
from rtseg_daemon.bundles import Bundle, OrganClass
from rtseg_daemon.calibration import Normal, OrganPrior
from rtseg_daemon.segment.appearance import appearance_of
from rtseg_daemon.segment.pipeline import to_network_grid
from rtseg_training.errors import CalibrationError
from rtseg_training.measure.evaluate import truth_on
from rtseg_training.sets.cases import Case
from rtseg_training.sets.organs import RUNS_ON, acceptable_dice

MINIMUM = 10
"""Patients from which on something is known of an organ, or of a pair of them."""

LEAST_SPREAD = {"log": 0.05, "mm": 3.0, "hu": 4.0, "share": 0.01}
"""Standard deviations below which no population is believed: so much comes from drawing and from the grid alone."""


ALONG_MM = 40.0
"""Least standard deviation along z of the distance to an organ that runs on: where that ends is the scan's choice."""


def looks_of(case: Case, bundle: Bundle) -> dict[str, Appearance]:
    """How the drawn organs of a case look on the bundle's grid. An organ that the scan cuts off is left out."""
    network = to_network_grid(case.ct, bundle)
    labels, _ = truth_on(network, case, bundle.classes)
    found = {}
    for k, organ in enumerate(bundle.classes, 1):
        look = appearance_of(labels, k, bounding_box(labels == k), network)
        if look is not None and case.status.get(organ.name) == "drawn":
            found[organ.name] = look
    return found


def normal(values: Sequence[float], kind: str) -> Normal:
    """Median and 1.4826 times the median absolute deviation: wrong contours among them do not count."""
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(np.subtract(values, middle))))
    return round(middle, 3), round(max(spread, LEAST_SPREAD[kind]), 3)


def prior_of(
    organ: OrganClass, patients: Sequence[dict[str, Appearance]], endless: Container[str]
) -> OrganPrior | None:
    """The prior of one organ, or None where fewer than MINIMUM patients have it whole.

    `endless` names the organs that run on beyond every scan.
    """
    own = [looks[organ.name] for looks in patients if organ.name in looks]
    whole = [look for look in own if organ.runs_on or not look.at_end]
    if len(whole) < MINIMUM or organ.target:
        return None
    extents = [normal([look.extent_mm[axis] for look in whole], "mm") for axis in range(3)]
    return OrganPrior(
        log_volume=normal([math.log(look.volume_ml) for look in whole], "log"),
        extent_mm=(extents[0], extents[1], extents[2]),
        hu=normal([look.hu for look in own], "hu"),
        contrast=normal([look.contrast for look in own], "hu"),
        continuity=normal([look.continuity for look in own], "share"),
        offsets=offsets_of(organ.name, patients, endless),
        pair_hu=pair_difference(organ.name, patients),
    )


def offsets_of(
    name: str, patients: Sequence[dict[str, Appearance]], endless: Container[str]
) -> dict[str, tuple[Normal, Normal, Normal]]:
    """Where the organ lies of each other that MINIMUM patients have beside it."""
    between: dict[str, list[Sequence[float]]] = {}
    for looks in patients:
        for one, other in permutations(looks, 2):
            if one == name:
                between.setdefault(other, []).append(np.subtract(looks[one].centre_mm, looks[other].centre_mm).tolist())
    out = {}
    for other, found in between.items():
        if len(found) >= MINIMUM:
            z, y, x = (normal([by[axis] for by in found], "mm") for axis in range(3))
            scan_decides = name in endless or other in endless
            out[other] = ((z[0], max(z[1], ALONG_MM)) if scan_decides else z, y, x)
    return out


def pair_difference(name: str, patients: Sequence[dict[str, Appearance]]) -> float | None:
    """The 99th percentile of the difference of median HU between the sides, or None without MINIMUM pairs."""
    twin = twin_of(name)
    apart = [abs(looks[name].hu - looks[twin].hu) for looks in patients if name in looks and twin in looks]
    return round(float(np.percentile(apart, 99)), 1) if len(apart) >= MINIMUM else None


def with_priors(bundle: Bundle, cases: Iterable[Case], report: Callable[[str], None]) -> Bundle:
    """`bundle` with what these cases tell of its organs. Organs of which they tell too little keep what was known."""
    patients = []
    for case in cases:
        patients.append(looks_of(case, bundle))
        report(case.name)
    endless = {organ.name for organ in bundle.classes if organ.runs_on}
    classes = [
        organ.model_copy(update={"prior": prior_of(organ, patients, endless) or organ.prior})
        for organ in bundle.classes
    ]
    return bundle.model_copy(update={"classes": classes})


def with_rules(bundle: Bundle, acceptable: Mapping[str, float]) -> Bundle:
    """`bundle` with what is acceptable of each organ, as given or as usual, and whether it runs on beyond scans.

    Raises CalibrationError for a name that the bundle does not have.
    """
    unknown = sorted(acceptable.keys() - {organ.name for organ in bundle.classes})
    if unknown:
        raise CalibrationError(
            f"--acceptable names {', '.join(unknown)}, which bundle {bundle.name} does not contour; "
            f"it has {', '.join(organ.name for organ in bundle.classes)}"
        )
    classes = [
        organ.model_copy(
            update={
                "acceptable": acceptable.get(organ.name, acceptable_dice(organ.name)),
                "runs_on": organ.name in RUNS_ON,
                "early_end_mm": RUNS_ON.get(organ.name, organ.early_end_mm),
            }
        )
        for organ in bundle.classes
    ]
    return bundle.model_copy(update={"classes": classes})
