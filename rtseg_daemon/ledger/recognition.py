"""What an arriving object is to those that are here: new, the same again, or another one under the same UID.

Asked once for each object. Where its file goes and what is written follow from the answer.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.ledger.schema import Instance, Series
from rtseg_daemon.ledger.series import known_instance
from rtseg_daemon.ledger.states import InstanceState, SeriesState

KEPT = select(Instance.id).where(Instance.sop_instance_uid == bindparam("sop"), Instance.state == InstanceState.KEPT)
REMOVED = select(Instance.id).where(
    Instance.sop_instance_uid == bindparam("sop"), Instance.state == InstanceState.REMOVED
)
ORDINARY = select(Series.id).where(
    Series.series_instance_uid == bindparam("series"),
    Series.state == SeriesState.OPEN,
    ~KEPT.exists(),
    ~REMOVED.exists(),
)


class Repeat(StrEnum):
    """What an arrival is to the object already kept under its SOP Instance UID."""

    NEW = "NEW"  # there is none
    DUPLICATE = "DUPLICATE"  # the same object; other encoding or unimportant tags at most
    IDENTITY_DIFFERS = "IDENTITY_DIFFERS"  # a demographic correction or a mix-up
    CONTENT_DIFFERS = "CONTENT_DIFFERS"  # other geometry or other pixels
    UNDECIDED = "UNDECIDED"  # other bytes, all else alike: only the pixels can tell, and nobody has compared them


@dataclass(frozen=True)
class Recognised:
    """The answer for one arrival.

    Args:
        known: the object held under its UID, or the last one that retention removed.
        open_series_id: the arrival's series, if that is open and the object was never here.
    """

    repeat: Repeat
    known: Instance | None = None
    open_series_id: int | None = None


def recognise(session: Session, arrival: Arrival) -> Recognised:
    """Compare an arrival with what the ledger knows. One statement suffices for a new object of an open series."""
    asked = {"series": arrival.series_instance_uid, "sop": arrival.sop_instance_uid}
    ordinary = session.connection().execute(ORDINARY, asked).first()
    if ordinary is not None:
        return Recognised(Repeat.NEW, open_series_id=int(ordinary.id))
    known = known_instance(session, arrival.sop_instance_uid)
    return Recognised(compare(known, arrival), known)


def compare(known: Instance | None, arrival: Arrival) -> Repeat:
    """Identity first, then geometry and pixels, never the bytes: encoding alone makes no other object.

    An object whose file retention has removed is NEW again, in whatever series, but not as another patient's or of
    another place: what was made of it may lie in a planning system under the same UIDs.
    """
    if known is None:
        return Repeat.NEW
    return compare_removed(known, arrival) if known.state is InstanceState.REMOVED else compare_kept(known, arrival)


def compare_removed(known: Instance, arrival: Arrival) -> Repeat:
    """An arrival with what the ledger remembers of an object whose file is gone. Its pixels cannot be compared."""
    if not same_identity(known, arrival):
        return Repeat.IDENTITY_DIFFERS
    return Repeat.NEW if known.geometry_sha256 == arrival.geometry_sha256 else Repeat.CONTENT_DIFFERS


def compare_kept(kept: Instance, arrival: Arrival) -> Repeat:
    """An arrival with an object on disk."""
    if kept.sha256 == arrival.sha256:
        return Repeat.DUPLICATE
    if not same_identity(kept, arrival) or kept.series.series_instance_uid != arrival.series_instance_uid:
        return Repeat.IDENTITY_DIFFERS
    if kept.geometry_sha256 != arrival.geometry_sha256:
        return Repeat.CONTENT_DIFFERS
    if arrival.pixel_sha256 is None:
        return Repeat.UNDECIDED
    return Repeat.DUPLICATE if kept.pixel_sha256 == arrival.pixel_sha256 else Repeat.CONTENT_DIFFERS


def same_identity(known: Instance, arrival: Arrival) -> bool:
    """Whether two objects are of one patient, study and frame of reference, however the name is spelled."""
    return known.identity_sha256 in (arrival.identity_sha256, arrival.identity_bytes_sha256)


def what_differs(known: Instance, arrival: Arrival) -> str:
    """Which parts of two objects' identity differ, for a reason."""
    before, now = known.facts.get("identity", {}), arrival.facts.get("identity", {})
    differing = [name for name, digest in now.items() if before.get(name, digest) != digest]
    if known.series.series_instance_uid != arrival.series_instance_uid:
        differing.append("SeriesInstanceUID")
    return "another " + (" and ".join(differing) or "patient, study or frame of reference")
