"""Events that are looked for, a page at a time, newest first: who did what, and what the daemon did."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.events import people
from rtseg_daemon.ledger.schema import Event

PAGE = 100


@dataclass(frozen=True)
class EventSearch:
    """What is looked for. What is empty asks nothing.

    Args:
        who: one person. Empty stands for all people, and for the daemon too with `everybody`.
        what: the whole word, such as `released`.
        since, before: seconds since 1970, the end excluded.
        older: only events of smaller numbers.
    """

    who: str = ""
    what: str = ""
    job: int | None = None
    since: float | None = None
    before: float | None = None
    everybody: bool = False
    older: int | None = None


def find_events(session: Session, search: EventSearch, limit: int = PAGE) -> tuple[Sequence[Event], bool]:
    """The page, and whether there are older ones."""
    query = select(Event)
    if search.who:
        query = query.where(Event.who == search.who)
    elif not search.everybody:
        query = query.where(Event.who.in_(people(session)))
    if search.what:
        query = query.where(Event.what == search.what)
    if search.job is not None:
        query = query.where(Event.subject == "job", Event.subject_id == search.job)
    if search.since is not None:
        query = query.where(Event.at >= search.since)
    if search.before is not None:
        query = query.where(Event.at < search.before)
    if search.older is not None:
        query = query.where(Event.id < search.older)
    found = session.scalars(query.order_by(Event.id.desc()).limit(limit + 1)).all()
    return found[:limit], len(found) > limit
