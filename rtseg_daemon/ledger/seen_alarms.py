"""Alarms as people deal with them: which there are, and that somebody has seen one."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rtseg_daemon.errors import AlreadyDecided, StateError
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.schema import Alarm

DIGEST = "digest"


def all_alarms(session: Session, *, seen: bool = False, limit: int | None = None) -> Sequence[Alarm]:
    """Alarms, newest first. With `seen` also those that a person has acknowledged, and digests."""
    query = select(Alarm).order_by(Alarm.id.desc()).limit(limit)
    if not seen:
        query = query.where(Alarm.acknowledged_at.is_(None), Alarm.kind != DIGEST)
    return session.scalars(query).all()


def acknowledge(session: Session, alarm_id: int, who: str, why: str = "", *, at: float | None = None) -> Alarm:
    """Note who has seen it, with an event. It is sent no more. Raises StateError if there is none, or it was seen."""
    alarm = session.get(Alarm, alarm_id)
    if alarm is None:
        raise StateError(f"there is no alarm {alarm_id}; see `rtseg-daemon alarms list --all`")
    if alarm.acknowledged_at is not None:
        raise AlreadyDecided(f"alarm {alarm_id} was acknowledged by {alarm.acknowledged_by}; nothing was changed")
    alarm.acknowledged_at, alarm.acknowledged_by = or_now(at), who
    record_event(session, "alarm", alarm_id, "acknowledged", who=who, detail={"why": why} if why else {}, at=at)
    return alarm


def unsent(session: Session) -> Sequence[Alarm]:
    """Those that some channel lacks and nobody has acknowledged, oldest first."""
    query = select(Alarm).where(Alarm.sent_at.is_(None), Alarm.acknowledged_at.is_(None))
    return session.scalars(query.order_by(Alarm.id)).all()


def unseen_count(session: Session) -> int:
    """How many nobody has acknowledged. Digests ask for no answer."""
    query = select(func.count()).where(Alarm.acknowledged_at.is_(None), Alarm.kind != DIGEST)
    return session.scalar(query) or 0
