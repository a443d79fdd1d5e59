"""Structure sets that came back, in the ledger: entered once each, found again, listed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.states import ReturnedState

SUBJECT = ReturnedSet.__tablename__
"""What its events are about."""


@dataclass(frozen=True)
class Came:
    """A structure set as it came: its file, durable, and who brought it. Nobody has looked into it.

    Args:
        path: relative to the storage.
        came_by: store, poll, or found (in the storage of a restored ledger).
        host: which of several hosts has the file.
    """

    sop_instance_uid: str
    sha256: str
    path: str
    size: int
    calling_ae: str
    calling_host: str
    came_by: str
    host: str = ""


def known(session: Session, sop_instance_uid: str, sha256: str) -> ReturnedSet | None:
    """The set that is the same object with the same bytes."""
    query = select(ReturnedSet).where(ReturnedSet.sop_instance_uid == sop_instance_uid, ReturnedSet.sha256 == sha256)
    return session.scalars(query).one_or_none()


def enter(session: Session, came: Came, *, at: float | None = None) -> ReturnedSet:
    """A RECEIVED row for an object that is not known. One that has the UID of an earlier one is told of."""
    moment = or_now(at)
    earlier = select(ReturnedSet.id).where(ReturnedSet.sop_instance_uid == came.sop_instance_uid)
    before = list(session.scalars(earlier.order_by(ReturnedSet.id)))
    row = ReturnedSet(**vars(came), received_at=moment, updated_at=moment)
    session.add(row)
    session.flush()
    detail = {"by": came.came_by, "from": came.calling_ae, "bytes": came.size}
    detail |= {"other bytes than": before} if before else {}
    record_event(session, SUBJECT, row.id, "came back", to_state=row.state, detail=detail, at=moment)
    return row


def note_again(session: Session, row: ReturnedSet, came: Came, *, at: float | None = None) -> None:
    """The same object with the same bytes came once more. Nothing is done about it."""
    record_event(session, SUBJECT, row.id, "came again", detail={"by": came.came_by, "from": came.calling_ae}, at=at)


def next_in(session: Session, state: ReturnedState, host: str, but: Collection[int] = ()) -> int | None:
    """The oldest set in this state whose file `host` has, none of those in `but`."""
    query = select(ReturnedSet.id).where(
        ReturnedSet.state == state, ReturnedSet.host == host, ReturnedSet.id.not_in(but)
    )
    return session.scalar(query.order_by(ReturnedSet.id).limit(1))


def all_returned(
    session: Session, state: ReturnedState | None = None, limit: int | None = None
) -> Sequence[ReturnedSet]:
    """Sets that came back, newest first."""
    query = select(ReturnedSet).options(selectinload(ReturnedSet.rois)).order_by(ReturnedSet.id.desc()).limit(limit)
    return session.scalars(query if state is None else query.where(ReturnedSet.state == state)).all()


def find_returned(session: Session, set_id: int) -> ReturnedSet:
    """The set of this number. Raises StateError if there is none."""
    row = session.get(ReturnedSet, set_id)
    if row is None:
        raise StateError(f"there is no returned structure set {set_id}; see `rtseg-daemon feedback list`")
    return row
