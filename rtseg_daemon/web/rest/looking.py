"""GET /api/v1/...: what the commands show by `--json`, in the same shapes from the same functions."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from starlette.exceptions import HTTPException

from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.found_jobs import Search, find_jobs
from rtseg_daemon.ledger.history import job_history
from rtseg_daemon.ledger.schema import Delivery
from rtseg_daemon.ledger.seen_alarms import all_alarms
from rtseg_daemon.ledger.states import DeliveryState, JobState, SeriesState
from rtseg_daemon.upkeep.quality import quality_shape
from rtseg_daemon.upkeep.standing import standing
from rtseg_daemon.web.pages.known_bundles import versions_by_digest
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here
from rtseg_daemon.web.rest.asked import MOST, Limit, Number, Older, Shape, Shapes, Since, seconds
from rtseg_daemon.web.seen import seen

router = APIRouter(prefix="/api/v1", tags=["look"])

DAY_SECONDS = 86400.0
LONGEST_DAYS = 3650
LONGEST_UID = 64


@router.get("/status")
def status(_person: Viewer, place: Here) -> Shape:
    """As `status --json`."""
    return standing(place.engine, place.config)


@router.get("/series")
def all_series(
    _person: Viewer,
    place: Here,
    state: SeriesState | None = None,
    patient: Annotated[str | None, Query(max_length=64)] = None,
    since: Since = None,
    limit: Limit = MOST,
) -> Shapes:
    """As `series list --json`, newest first."""
    wanted = views.Wanted(state, patient, seconds(since), limit)
    with reading(place.engine) as session:
        return [views.series_shape(series, count) for series, count in views.all_series(session, wanted)]


@router.get("/series/{uid}")
def one_series(person: Viewer, place: Here, uid: str) -> Shape:
    """As `series show --json`: by SeriesInstanceUID or number."""
    if len(uid) > LONGEST_UID:
        raise HTTPException(404, "there is no such series")
    with reading(place.engine) as session:
        series = views.find_series(session, uid)
        shape = views.series_detail(series, place.layout.shown)
    seen(place, person, series)
    return shape


@router.get("/jobs")
def all_jobs(
    _person: Viewer,
    place: Here,
    state: JobState | None = None,
    patient: Annotated[str, Query(max_length=64)] = "",
    shadow: bool = False,
    older: Older = None,
    limit: Limit = MOST,
) -> Shapes:
    """As `jobs list --json`, newest first. With `shadow` those of shadows, else none of them."""
    with reading(place.engine) as session:
        found = find_jobs(session, Search(patient=patient, state=state, shadow=shadow, older=older), limit)
        return [views.job_shape(job, place.layout.shown) for job in found.jobs]


@router.get("/jobs/{number}")
def one_job(person: Viewer, place: Here, number: Number) -> Shape:
    """As `jobs show --json`."""
    with reading(place.engine) as session:
        shape = views.job_detail(views.find_job(session, number), place.layout.shown)
    seen(place, person, number)
    return shape


@router.get("/jobs/{number}/events")
def events_of_job(person: Viewer, place: Here, number: Number) -> Shapes:
    """As `jobs events --json`."""
    with reading(place.engine) as session:
        shapes = job_history(session, number)
    seen(place, person, number)
    return shapes


@router.get("/deliveries")
def all_deliveries(
    _person: Viewer, place: Here, state: DeliveryState | None = None, older: Older = None, limit: Limit = MOST
) -> Shapes:
    """As `deliveries list --json`, newest first."""
    query = select(Delivery).order_by(Delivery.id.desc()).limit(limit)
    query = query if state is None else query.where(Delivery.state == state)
    query = query if older is None else query.where(Delivery.id < older)
    with reading(place.engine) as session:
        return [views.delivery_shape(delivery) for delivery in session.scalars(query)]


@router.get("/quality")
def quality(_person: Viewer, place: Here, days: Annotated[int, Query(ge=1, le=LONGEST_DAYS)] = 90) -> Shape:
    """As `quality --json`."""
    now = place.now()
    with reading(place.engine) as session:
        return quality_shape(session, now - days * DAY_SECONDS, now, versions_by_digest(place.models))


@router.get("/alarms")
def alarms(
    _person: Viewer,
    place: Here,
    everything: Annotated[bool, Query(alias="all", description="Also those that were acknowledged.")] = False,
    limit: Limit = MOST,
) -> Shapes:
    """As `alarms list --json`, newest first."""
    with reading(place.engine) as session:
        return [views.alarm_shape(alarm) for alarm in all_alarms(session, seen=everything, limit=limit)]
