"""A person says what a name of an ROI means, for the whole site. Sets that have it are named and measured anew."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.anatomy.called import contradiction, likely, shipped_table
from rtseg_daemon.errors import StateError
from rtseg_daemon.feedback.names import key_of
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet, RoiName
from rtseg_daemon.ledger.moves import move_returned
from rtseg_daemon.ledger.states import ReturnedState

NAMED = (ReturnedState.NAMES, ReturnedState.MEASURED)
"""States of sets whose ROIs are named."""


def known_organs(session: Session) -> list[str]:
    """TG-263 names that a person may choose: those of the table, and whatever came back under another organ's name."""
    table = shipped_table()
    sided = {organ + side for organ in table.sided.values() for side in ("_L", "_R")}
    ours = session.scalars(select(ReturnedRoi.organ).where(ReturnedRoi.organ.is_not(None)).distinct())
    return sorted(set(table.single.values()) | sided | {organ for organ in ours if organ})


def explain(
    session: Session, name: str, organ: str | None, who: str, why: str, organs: Collection[str] = ()
) -> RoiName:
    """Enter that `name` is `organ`, or none of ours if None. Raises StateError for an organ that contradicts the name.

    `organs`: further names that are organs here, such as those of the installed bundles.
    """
    if not name.strip():
        raise StateError("a name of blanks alone means nothing")
    choices = {*known_organs(session), *organs}
    if organ is not None and organ not in choices:
        near = likely(organ, sorted(choices))
        hint = f"; did you mean {near[0]}?" if near else ""
        raise StateError(f"{organ!r} is no organ that is known here{hint}; give its TG-263 name, such as Parotid_L")
    if organ is not None and (wrong := contradiction(organ, name)):
        raise StateError(f"{wrong}; have the ROI named otherwise in the planning system")
    key, moment = key_of(name), or_now(None)
    row = session.merge(RoiName(key=key, name=name, organ=organ, who=who, why=why, at=moment))
    session.flush()
    for set_id in sets_with(session, key):
        move_returned(session, set_id, ReturnedState.PAIRED, what="a name was explained", who=who, at=moment)
    detail = {"organ": organ, "why": why, "name": name}
    record_event(session, "roi_name", None, "name explained", detail=detail, who=who, at=moment)
    return row


def sets_with(session: Session, key: str) -> list[int]:
    """Sets with an ROI of that name whose ROIs are named already."""
    names = [name for name in session.scalars(select(ReturnedRoi.name).distinct()) if key_of(name) == key]
    query = select(ReturnedSet.id).join(ReturnedRoi).where(ReturnedRoi.name.in_(names), ReturnedSet.state.in_(NAMED))
    query = query.where(ReturnedSet.path != "")  # what retention has removed keeps its figures
    return sorted(set(session.scalars(query)))
