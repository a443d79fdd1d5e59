"""Feedback: structure sets that came back, what was changed of ours, and names that wait for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.anatomy.called import likely
from rtseg_daemon.errors import RtsegError, StateError
from rtseg_daemon.feedback.mapping import known_organs
from rtseg_daemon.feedback.names import key_of
from rtseg_daemon.ledger import returned
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.events import person as named
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.returned_views import names_said, returned_detail, returned_shape
from rtseg_daemon.ledger.states import ReturnedState
from rtseg_daemon.ledger.views import JsonObject
from rtseg_daemon.upkeep.deciding import Desk
from rtseg_daemon.upkeep.explaining import explain_name
from rtseg_daemon.web.numbers import Row
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.people.guard import Person, Physicist, Viewer
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.seen import seen

router = APIRouter(include_in_schema=False)
SHOWN = 100
LONGEST_REASON = 1000
NOT_OURS = "none"
"""What the form says for a name that is none of our organs."""


@dataclass(frozen=True)
class WaitingName:
    """A name that nobody knows: the newest ROI that has it, why it may be ours, and how many sets have it."""

    roi_id: int
    name: str
    reasons: tuple[str, ...]
    sets: int


@router.get("/feedback")
def feedback(request: Request, person: Viewer, place: Here, state: Annotated[str, Query(max_length=16)] = "") -> Any:
    """The page."""
    wanted = ReturnedState(state) if state in ReturnedState.__members__ else None
    with reading(place.engine) as session:
        rows = returned.all_returned(session, wanted, SHOWN)
        sets = [returned_shape(row, place.layout.shown) for row in rows]
        waiting, said = waiting_names(session), names_said(session)
    values: dict[str, Any] = {
        "sets": sets,
        "waiting": waiting,
        "said": said,
        "state": state,
        "states": list(map(str, ReturnedState)),
    }
    return page(request, person, "feedback.html", shown=SHOWN, taken=place.config.takes_feedback, **values)


@router.get("/feedback/{number}")
def one(request: Request, person: Viewer, place: Here, number: Row) -> HTMLResponse:
    """One set with its ROIs. Raises StateError where there is none."""
    with reading(place.engine) as session:
        row = returned.find_returned(session, number)
        shape, series = returned_detail(session, row, place.layout.shown), row.series
        rois = {roi.number: roi.id for roi in row.rois if roi.ask}
    if series is not None:
        seen(place, person, series)
    return page(request, person, "returned.html", one=shape, asked=rois)


@router.get("/feedback/names/{roi_id}")
def ask(request: Request, person: Physicist, place: Here, roi_id: Row) -> HTMLResponse:
    """The question what a name means."""
    return question(request, person, place, roi_id)


@router.post("/feedback/names/{roi_id}")
def explain(
    request: Request,
    person: Physicist,
    place: Here,
    roi_id: Row,
    organ: Annotated[str, Form(max_length=64)] = "",
    why: Annotated[str, Form(max_length=LONGEST_REASON)] = "",
) -> Response:
    """Say what the name of this ROI means, or why that cannot be."""
    if not organ:
        return question(request, person, place, roi_id, fault="Choose an organ.", status=422)
    with reading(place.engine) as session:
        name = roi_of(session, roi_id).name
    meant = None if organ == NOT_OURS else organ
    try:
        explain_name(Desk(place.engine, place.config, named(person.name)), name, meant, why.strip())
    except RtsegError as error:
        return question(request, person, place, roi_id, fault=str(error), status=409)
    return RedirectResponse("/feedback", 303)


def question(
    request: Request, person: Person, place: Place, roi_id: int, *, fault: str = "", status: int = 200
) -> HTMLResponse:
    """The page that asks."""
    with reading(place.engine) as session:
        roi = roi_of(session, roi_id)
        organs = known_organs(session)
        values = {"name": roi.name, "reasons": list(roi.reasons), "set_id": roi.set_id, "roi_id": roi_id}
    near = likely(str(values["name"]), organs)
    return page(request, person, "explain.html", status=status, fault=fault, near=near, organs=organs, **values)


def roi_of(session: Session, roi_id: int) -> ReturnedRoi:
    """The ROI. Raises StateError if there is none."""
    roi = session.get(ReturnedRoi, roi_id)
    if roi is None:
        raise StateError(f"there is no ROI {roi_id} any more; look at the list again")
    return roi


def waiting_names(session: Session) -> list[WaitingName]:
    """Names that wait for a person, those of most sets first."""
    query = select(ReturnedRoi).join(ReturnedSet).where(ReturnedSet.state == ReturnedState.NAMES, ReturnedRoi.ask)
    by_key: dict[str, list[ReturnedRoi]] = {}
    for roi in session.scalars(query.order_by(ReturnedRoi.id.desc())):
        by_key.setdefault(key_of(roi.name), []).append(roi)
    found = [
        WaitingName(rois[0].id, rois[0].name, tuple(rois[0].reasons), len({roi.set_id for roi in rois}))
        for rois in by_key.values()
    ]
    return sorted(found, key=lambda one: (-one.sets, one.name.casefold()))


def returned_of(session: Session, series_id: int) -> Sequence[JsonObject]:
    """The sets of a case with their ROIs, newest first, as the page of a case shows them."""
    query = select(ReturnedSet).where(ReturnedSet.series_id == series_id).order_by(ReturnedSet.id.desc()).limit(SHOWN)
    return [{"set": row, "counting": [roi for roi in row.rois if roi.counts]} for row in session.scalars(query)]
