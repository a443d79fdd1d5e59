"""Events and alarms, written in the transaction of what they tell."""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.bounded import each_value
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.schema import Alarm, Event

OWN = re.compile(r"daemon|worker-\d+(@\S+/\d+-[0-9a-f]+|-\d+)")
"""Who does the daemon's own steps: it, or a worker by its lease. Earlier versions named no host."""


def is_own(who: str) -> bool:
    """Whether an event is a step of the daemon's own, and not something that a person did."""
    return OWN.fullmatch(who) is not None


def person(name: str) -> str:
    """A person's name as events have it. An account that is called as the daemon calls itself is told apart."""
    return f"account {name}" if is_own(name) else name


def people(session: Session) -> list[str]:
    """Who has done anything, sorted, without the daemon's own. By the index on `who`: one step per name."""
    return [who for who in each_value(session, Event.who) if not is_own(who)]


def record_event(
    session: Session,
    subject: str,
    subject_id: int | None,
    what: str,
    *,
    from_state: str | None = None,
    to_state: str | None = None,
    detail: dict[str, Any] | None = None,
    who: str = "daemon",
    at: float | None = None,
) -> None:
    """Add an event row. `detail` holds no patient data: it is shown in logs and on the dashboard."""
    session.add(
        Event(
            at=or_now(at),
            subject=subject,
            subject_id=subject_id,
            what=what,
            from_state=from_state,
            to_state=to_state,
            detail=detail or {},
            who=who,
        )
    )


def events_of(session: Session, subject: str, subject_id: int) -> Sequence[Event]:
    """All events of one series, job or delivery, oldest first."""
    query = select(Event).where(Event.subject == subject, Event.subject_id == subject_id).order_by(Event.id)
    return session.scalars(query).all()


def raise_alarm(session: Session, kind: str, key: str, message: str, *, at: float | None = None) -> bool:
    """Store an alarm for the supervisor to send. Returns False if one with this `key` was raised before."""
    if was_raised(session, key):
        return False
    session.add(Alarm(at=or_now(at), kind=kind, key=key, message=message))
    session.flush()
    return True


def was_raised(session: Session, key: str) -> bool:
    """Whether an alarm with this `key` was stored, be it sent or not."""
    return session.scalar(select(Alarm.id).where(Alarm.key == key)) is not None
