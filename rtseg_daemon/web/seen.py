"""Who looked at which patient: an event for the audit trail, one per person and case in ten minutes."""

import threading
import weakref
from collections import OrderedDict

from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import person as named
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.web.people.guard import Person
from rtseg_daemon.web.place import Place

AGAIN_SECONDS = 600.0
MOST_REMEMBERED = 10_000

Look = tuple[str, str, int]

LOCK = threading.Lock()
LAST: "weakref.WeakKeyDictionary[Engine, OrderedDict[Look, float]]" = weakref.WeakKeyDictionary()
"""For each ledger: when which look was noted. What is forgotten here is only noted once more."""


def seen(place: Place, person: Person, what: Job | Series | int) -> None:
    """Note that a person or program sees a patient. `what` is the job or series that is shown, or a job's number.

    Raises SQLAlchemyError where that cannot be written: what cannot be audited is not shown.
    """
    subject = "series" if isinstance(what, Series) else "job"
    look = (person.name, subject, what if isinstance(what, int) else what.id)
    now = place.now()
    if not is_new(place.engine, look, now):
        return
    written = False
    try:
        with writing(place.engine) as session:
            record_event(session, subject, look[2], "viewed", who=named(person.name), at=now)
        written = True
    finally:
        if not written:
            with LOCK:
                LAST[place.engine].pop(look, None)


def is_new(engine: Engine, look: Look, now: float) -> bool:
    """Whether a look was not noted of late. It is remembered as noted."""
    with LOCK:
        last = LAST.setdefault(engine, OrderedDict())
        if 0 <= now - last.get(look, float("-inf")) < AGAIN_SECONDS:
            return False
        last[look] = now
        last.move_to_end(look)
        while len(last) > MOST_REMEMBERED:
            last.popitem(last=False)
        return True
