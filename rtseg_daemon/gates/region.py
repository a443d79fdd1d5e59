"""Is this the part of the body, and the position, that the bundle was made for? By the organs that were found. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rtseg_daemon.anatomy.organ import Appearance, Flag, Organ
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.calibration import OrganPrior
from rtseg_daemon.gates.verdict import Finding

OUT_OF_PLACE = 7.0
"""Standard deviations from its place relative to another organ. Patients in their right position stay below 5."""

AXES = (("above", "below"), ("behind", "in front of"), ("left of", "right of"))
"""Where one organ lies of another, along z, y and x: by a larger and by a smaller coordinate."""


def wrong_region(judged: Sequence[Organ], bundle: Bundle) -> Iterable[Finding]:
    """Too few organs that may be used, or organs that do not lie as they do in a patient."""
    yield from too_few_organs(judged, bundle)
    priors = {organ.name: organ.prior for organ in bundle.classes if organ.prior is not None}
    looks = {
        organ.name: organ.appearance
        for organ in judged
        if organ.appearance is not None and organ.flag is not Flag.REJECT and organ.name in priors
    }
    if words := misplaced(looks, priors):
        yield Finding("hold", f"{words}: is this the right body region and position?")


def too_few_organs(judged: Sequence[Organ], bundle: Bundle) -> Iterable[Finding]:
    """Fewer organs that are not REJECT than the bundle's minimum. A target may be absent."""
    organs = {organ.name for organ in bundle.classes if not organ.target}
    needed = min(bundle.limits.minimum_organs, len(organs))
    count = sum(organ.found and organ.flag is not Flag.REJECT for organ in judged if organ.name in organs)
    if count < needed:
        yield Finding("hold", f"only {count} usable organs, at least {needed} expected: is this the right body region?")


def misplaced(looks: Mapping[str, Appearance], priors: Mapping[str, OrganPrior]) -> str:
    """The pair of organs that lies worst to each other, in words, empty where all lie as they should.

    Each pair is looked at once, along the axis on which it is furthest from the population.
    """
    worst, words = OUT_OF_PLACE, ""
    for name in looks:
        for other in looks:
            if name < other and other in priors[name].offsets:
                for axis, normal in enumerate(priors[name].offsets[other]):
                    by = looks[name].centre_mm[axis] - looks[other].centre_mm[axis]
                    far = abs(by - normal[0]) / normal[1]
                    if far > worst:
                        worst, words = far, told_apart(name, other, axis, by, normal[0])
    return words


def told_apart(name: str, other: str, axis: int, by_mm: float, usual_mm: float) -> str:
    """Where `name` lies of `other` along `axis`, and where it usually does."""

    def place(mm: float) -> str:
        return f"{abs(mm):.0f} mm {AXES[axis][0 if math.copysign(1, mm) > 0 else 1]}"

    return f"{name} lies {place(by_mm)} {other}, usually {place(usual_mm)} it"
