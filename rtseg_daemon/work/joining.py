"""The organs of several bundles in one structure set: which bundle each is of, and no two of one name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rtseg_daemon.anatomy.called import LONGEST_NAME
from rtseg_daemon.anatomy.organ import Flag, Organ, flagged
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.gates.verdict import Verdict


@dataclass(frozen=True)
class Part:
    """What one bundle found in a case.

    Args:
        organs: one per class of the bundle, judged.
        rings: where its members disagree, each named as its organ.
        verdict: the organ gate's.
        entropy: vote entropy (nats) on the bundle's own grid.
    """

    bundle: Bundle
    organs: tuple[Organ, ...]
    rings: tuple[Organ, ...]
    verdict: Verdict
    entropy: Volume


def joined(parts: Sequence[Part]) -> list[Part]:
    """The parts with their organs' origins and with names that differ, case ignored. A single part stays as it is.

    The bundle named first keeps its TG-263 names. A later one's contour of a structure that is there already is marked
    at its end (`Brainstem^2`: TG-263 sets a qualifier of one's own off by `^`) and REVIEW at best: a person chooses.
    """
    if len(parts) == 1:
        return list(parts)
    owners: dict[str, str] = {}
    result = []
    for part in parts:
        names = {}
        for organ in part.organs:
            names[organ.name] = free_name(organ.name, owners)
            owners[names[organ.name].casefold()] = part.bundle.name
        result.append(renamed(part, names, owners))
    return result


def renamed(part: Part, names: Mapping[str, str], owners: Mapping[str, str]) -> Part:
    """The part under other `names`. Organs that had to change theirs say whose contour has it."""

    def origin(organ: Organ) -> Organ:
        return replace(organ, name=names[organ.name], origin=(part.bundle.name, organ.name))

    def second(organ: Organ) -> Organ:
        if names[organ.name] == organ.name:
            return origin(organ)
        reason = f"{organ.name} is contoured by {owners[organ.name.casefold()]} too; keep one of the two"
        return flagged(origin(organ), [(Flag.REVIEW, reason)])

    organs = tuple(second(organ) for organ in part.organs)
    flags = {organ.name: organ.flag for organ in organs}
    rings = tuple(replace(origin(ring), flag=flags[names[ring.name]]) for ring in part.rings)
    twice = tuple(f"{organ.name}: {organ.reasons[-1]}" for organ in organs if organ.name not in names)
    reasons = tuple(dict.fromkeys([*part.verdict.reasons, *twice]))
    word = "flag" if twice and part.verdict.verdict == "pass" else part.verdict.verdict
    return replace(part, organs=organs, rings=rings, verdict=replace(part.verdict, verdict=word, reasons=reasons))


def free_name(name: str, taken: Mapping[str, str]) -> str:
    """`name`, or with the first free mark `^2`, `^3` and so on. Where 16 characters do not hold it, the side stays."""
    found, number = name, 2
    while found.casefold() in taken:
        side = name[-2:] if name[-2:] in ("_L", "_R") else ""
        tail = f"{side}^{number}"
        found, number = name.removesuffix(side)[: LONGEST_NAME - len(tail)] + tail, number + 1
    return found
