"""Which contours of a case count: those of the newest approved set that has the organ. Pure.

Sets that came again, that replace an older one, that hold some organs only, or that were approved later are one history
of a case. What is not approved, or was rejected, never counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rtseg_daemon.ledger.states import Approval

SLACK = timedelta(days=1)
"""By which the clock of another machine may be off and is still believed."""


@dataclass(frozen=True)
class Version:
    """One paired set of a case.

    Args:
        said_at: when it was approved, or made, by its own clock: `20261127 153846`.
        sent_at: when our result was delivered, seconds since 1970.
        organs: organ to the number of its ROI, of those that are drawn and can be compared.
    """

    set_id: int
    approval: Approval
    said_at: str
    received_at: float
    sent_at: float | None
    organs: dict[str, int]


@dataclass(frozen=True)
class Counted:
    """Numbers of the ROIs that count, and for each set that is superseded by which."""

    rois: frozenset[int]
    superseded: dict[int, int]


def counted(versions: Sequence[Version]) -> Counted:
    """What counts of a case."""
    approved = newest_first([one for one in versions if one.approval is Approval.APPROVED])
    owner: dict[str, Version] = {}
    superseded: dict[int, int] = {}
    for one in approved:
        held = {organ: owner[organ] for organ in one.organs if organ in owner}
        if approved.index(one) and len(held) == len(one.organs):
            superseded[one.set_id] = max(held.values(), key=approved.index).set_id if held else approved[0].set_id
        for organ in one.organs:
            owner.setdefault(organ, one)
    return Counted(frozenset(version.organs[organ] for organ, version in owner.items()), superseded)


def newest_first(versions: Sequence[Version]) -> list[Version]:
    """By the time that the sets themselves state, where all of these can be true, else as they came.

    An archive may send an older set after a newer one. A clock that is years off says nothing.
    """
    times = {one.set_id: plausible_time(one) for one in versions}
    if all(times.values()):
        return sorted(versions, key=lambda one: (times[one.set_id] or datetime.min, one.set_id), reverse=True)
    return sorted(versions, key=lambda one: one.set_id, reverse=True)


def plausible_time(one: Version) -> datetime | None:
    """When the set was approved or made, or None where it does not say or its clock must be wrong."""
    try:
        said = datetime.strptime(one.said_at.partition(".")[0], "%Y%m%d %H%M%S")
    except ValueError:
        return None
    came = datetime.fromtimestamp(one.received_at, UTC).replace(tzinfo=None)
    if said > came + SLACK:
        return None
    if one.sent_at is not None and said < datetime.fromtimestamp(one.sent_at, UTC).replace(tzinfo=None) - SLACK:
        return None
    return said
