"""Incoming associations in the ledger, and since when anybody listens. All hosts write times of the ledger's clock."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.leases import database_time, ledger_moment
from rtseg_daemon.ledger.schema import IncomingAssociation, Series, Setting
from rtseg_daemon.ledger.states import Ending, SeriesState

SINCE = "listening_since"


def open_association(
    session: Session, calling_ae: str, calling_host: str, *, host: str = "", at: float | None = None
) -> int:
    """Row for an association that `host` accepted. Its id goes into the arrivals it brings."""
    opened_at = ledger_moment(session, at)
    association = IncomingAssociation(calling_ae=calling_ae, calling_host=calling_host, opened_at=opened_at, host=host)
    session.add(association)
    session.flush()
    return association.id


def end_association(session: Session, association_id: int, ending: Ending, *, at: float | None = None) -> None:
    """Say how an association ended (RELEASED, IDLE or ABORTED)."""
    session.execute(
        update(IncomingAssociation)
        .where(IncomingAssociation.id == association_id)
        .values(ending=ending, ended_at=database_time(session, at))
    )


def resume_listening(session: Session, *, host: str = "", at: float | None = None, pid: int | None = None) -> int:
    """To be called when the receiver `pid` of `host` starts: its associations still OPEN have DIED, the quiet clock
    starts anew.

    Returns how many had died. See `listening_since` and `listener`.
    """
    moment = ledger_moment(session, at)
    died = (
        update(IncomingAssociation)
        .where(IncomingAssociation.ending == Ending.OPEN, IncomingAssociation.host == host)
        .values(ending=Ending.DIED, ended_at=moment)
    )
    count: int = session.connection().execute(died).rowcount
    here = [state for state in SeriesState if state is not SeriesState.REMOVED]  # named, so that an index finds them
    counted = Series.state.in_(here) & Series.counted_instance_id.is_not(None)
    forgotten = update(Series).where(counted).values(counted_instance_id=None)
    session.connection().execute(forgotten)  # what a PACS said before this silence began
    session.merge(Setting(key=of_host(SINCE, host), value=repr(moment)))
    session.merge(Setting(key=of_host("listener", host), value=str(pid or "")))
    return count


def of_host(key: str, host: str) -> str:
    """The key of a host's own setting."""
    return f"{key}@{host}" if host else key


def listening_since(session: Session) -> float:
    """When listening last began, on any host. Silence before that means nothing. 0.0 if it never did."""
    query = select(Setting.value).where((Setting.key == SINCE) | Setting.key.startswith(f"{SINCE}@", autoescape=True))
    return max(map(float, session.scalars(query)), default=0.0)


def listener(session: Session, host: str = "") -> int | None:
    """Process id of the receiver of `host` that last began to listen."""
    setting = session.get(Setting, of_host("listener", host))
    return int(setting.value) if setting and setting.value else None
