"""Now: what arrives, what is at work, whether everything that is needed is up, and what is wrong."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from rtseg_daemon.assemble.arriving import arriving
from rtseg_daemon.ledger.bounded import TO_BE_SENT
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.seen_alarms import all_alarms
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.ledger.views import alarm_shape
from rtseg_daemon.upkeep.standing import standing
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here

router = APIRouter(include_in_schema=False)
AT_WORK = (JobState.RUNNING, JobState.QUEUED, JobState.SEGMENTED, JobState.DELIVERING)
MOST = 25


@router.get("/")
def now(request: Request, person: Viewer, place: Here) -> HTMLResponse:
    """The first page."""
    shape = standing(place.engine, place.config)
    with reading(place.engine) as session:
        values: dict[str, Any] = {
            "arriving": arriving(session),
            "at_work": at_work(session),
            "unrouted": unrouted(session),
            "alarms": [alarm_shape(alarm) for alarm in all_alarms(session, limit=MOST)],
            "as_of": newest_event(session),
        }
    settings = place.config
    return page(
        request,
        person,
        "now.html",
        status=200,
        standing=shape,
        minimum_free_gb=settings.storage.minimum_free_gb,
        quiet_seconds=settings.series.quiet_seconds,
        now=place.now(),
        **values,
    )


def at_work(session: Session) -> Sequence[Job]:
    """Jobs that are not done, those that a worker has first, at most MOST of each state."""
    found: list[Job] = []
    for state in AT_WORK:
        query = select(Job).where(Job.state == state, ~Job.shadow).order_by(Job.id)
        if state is JobState.SEGMENTED:
            query = query.where(Job.id.in_(TO_BE_SENT))
        found += session.scalars(query.options(joinedload(Job.series)).limit(MOST))
    return found


def unrouted(session: Session) -> Sequence[Series]:
    """The last series that no route takes."""
    query = select(Series).where(Series.state == SeriesState.UNROUTED).order_by(Series.id.desc()).limit(5)
    return session.scalars(query).all()
