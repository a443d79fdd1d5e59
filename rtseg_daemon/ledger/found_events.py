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
    query = select(Event.id)
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
    newest = query.order_by(Event.id.desc()).limit(limit + 1)
    if search.everybody and not search.who:
        queries = [newest]
    else:  # one after the other: of all together the database would sort every event there ever was
        queries = [newest.where(Event.who == who) for who in ([search.who] if search.who else people(session))]
    numbers = [number for one in queries for number in session.scalars(one)]
    found = sorted(numbers, reverse=True)[: limit + 1]
    page = session.scalars(select(Event).where(Event.id.in_(found[:limit])).order_by(Event.id.desc())).all()
    return page, len(found) > limit
