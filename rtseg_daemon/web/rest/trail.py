"""GET /api/v1/audit: who did what, by the search of the page /audit."""

from typing import Annotated

from fastapi import APIRouter, Query

from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.found_events import EventSearch, find_events
from rtseg_daemon.web.numbers import LARGEST
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here
from rtseg_daemon.web.rest.asked import Limit, Older, Shapes, Since, seconds

router = APIRouter(prefix="/api/v1", tags=["look"])


@router.get("/audit")
def audit(
    _person: Viewer,
    place: Here,
    who: Annotated[str, Query(max_length=200, description="One person, program, or `daemon`.")] = "",
    what: Annotated[str, Query(max_length=200, description="The whole word, such as `released`.")] = "",
    job: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    since: Since = None,
    before: Since = None,
    people: Annotated[bool, Query(description="Without the daemon's own steps.")] = False,
    older: Older = None,
    limit: Limit = 100,
) -> Shapes:
    """Who did what, newest first: events of persons, programs and the daemon, each with its number and subject."""
    search = EventSearch(
        who=who,
        what=what,
        job=job,
        since=seconds(since),
        before=seconds(before),
        everybody=not people,
        older=older,
    )
    with reading(place.engine) as session:
        return [
            {"id": event.id, "subject": event.subject, "subject_id": event.subject_id} | views.event_shape(event)
            for event in find_events(session, search, limit)[0]
        ]
