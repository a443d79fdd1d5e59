"""Incoming associations in the ledger, and since when anybody listens."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.schema import IncomingAssociation, Series, Setting
from rtseg_daemon.ledger.states import Ending


def open_association(session: Session, calling_ae: str, calling_host: str, *, at: float | None = None) -> int:
    """Row for an accepted association. Its id goes into the arrivals it brings."""
    association = IncomingAssociation(calling_ae=calling_ae, calling_host=calling_host, opened_at=or_now(at))
    session.add(association)
    session.flush()
    return association.id


def end_association(session: Session, association_id: int, ending: Ending, *, at: float | None = None) -> None:
    """Say how an association ended (RELEASED, IDLE or ABORTED)."""
    session.execute(
        update(IncomingAssociation)
        .where(IncomingAssociation.id == association_id)
        .values(ending=ending, ended_at=or_now(at))
    )


def resume_listening(session: Session, *, at: float | None = None, pid: int | None = None) -> int:
    """To be called when the receiver `pid` starts: associations still OPEN have DIED, the quiet clock starts anew.

    Returns how many had died. See `listening_since` and `listener`.
    """
    moment = or_now(at)
    died = (
        update(IncomingAssociation)
        .where(IncomingAssociation.ending == Ending.OPEN)
        .values(ending=Ending.DIED, ended_at=moment)
    )
    count: int = session.connection().execute(died).rowcount
    forgotten = update(Series).where(Series.counted_instance_id.is_not(None)).values(counted_instance_id=None)
    session.connection().execute(forgotten)  # what a PACS said before this silence began
    session.merge(Setting(key="listening_since", value=repr(moment)))
    session.merge(Setting(key="listener", value=str(pid or "")))
    return count


def listening_since(session: Session) -> float:
    """When listening last began. Silence before that means nothing. 0.0 if it never did."""
    setting = session.get(Setting, "listening_since")
    return float(setting.value) if setting else 0.0


def listener(session: Session) -> int | None:
    """Process id of the receiver that last began to listen."""
    setting = session.get(Setting, "listener")
    return int(setting.value) if setting and setting.value else None
