"""Worklist: all that waits for a person, worst first, with the reason and what can be done beside it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.ledger.urgency import Need, Waiting, waiting_jobs, waiting_series, worst_first
from rtseg_daemon.upkeep.lateness import late_series
from rtseg_daemon.web.pages.offers import OF_JOBS
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.pages.returning import waiting_names
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here, Place

router = APIRouter(include_in_schema=False)
DAY_SECONDS = 86400.0
SHOWN = 100

CAN_BE_DONE: dict[Need, tuple[str, ...]] = {
    Need.DOUBT: ("cancel",),
    Need.FAILED: ("retry", "rerun", "cancel"),
    Need.HELD: ("release", "cancel"),
    Need.LATE: ("cancel",),
    Need.REJECT: ("review", "rerun"),
}
"""What the worklist offers beside a job."""


@router.get("/worklist")
def worklist(request: Request, person: Viewer, place: Here) -> HTMLResponse:
    """The page."""
    waiting, as_of = gather(place)
    with reading(place.engine) as session:
        names = len(waiting_names(session))
    return page(
        request,
        person,
        "worklist.html",
        waiting=waiting[:SHOWN],
        left_out=max(0, len(waiting) - SHOWN),
        names=names,
        counts={need: sum(one.need is need for one in waiting) for need in Need},
        actions=CAN_BE_DONE,
        offers=OF_JOBS,
        now=place.now(),
        as_of=as_of,
        late_minutes=place.config.series.late_minutes,
        keep_days=place.config.storage.keep_days,
    )


def gather(place: Place) -> tuple[list[Waiting], int]:
    """All that waits, in order, and the newest event that it is as of."""
    now = place.now()
    with reading(place.engine) as session:
        as_of = newest_event(session)
        late = frozenset(number for number, *_ in late_series(session, now - 60 * place.config.series.late_minutes))
        rejected_since = now - DAY_SECONDS * place.config.storage.keep_days
        return worst_first([*waiting_jobs(session, late, rejected_since), *waiting_series(session, late)]), as_of
