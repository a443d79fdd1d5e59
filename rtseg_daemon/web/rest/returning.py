"""/api/v1/feedback...: structure sets that came back, and what their names mean, as the commands show and do it."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from rtseg_daemon.ledger import returned, returned_views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.states import ReturnedState
from rtseg_daemon.upkeep.explaining import explain_name
from rtseg_daemon.web.people.guard import Physicist, Viewer
from rtseg_daemon.web.place import Here
from rtseg_daemon.web.rest.acting import desk
from rtseg_daemon.web.rest.asked import MOST, Limit, Number, Shape, Shapes, text
from rtseg_daemon.web.seen import seen

router = APIRouter(prefix="/api/v1", tags=["feedback"])


class Meaning(BaseModel):
    """What a name means. `organ` is a TG-263 name, or null for none of ours."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    organ: str | None = Field(max_length=64)
    why: str = Field(default="", max_length=2000)


@router.get("/feedback")
def all_returned(_person: Viewer, place: Here, state: ReturnedState | None = None, limit: Limit = MOST) -> Shapes:
    """As `feedback list --json`, newest first."""
    with reading(place.engine) as session:
        rows = returned.all_returned(session, state, limit)
        return [returned_views.returned_shape(row, place.layout.shown) for row in rows]


@router.get("/feedback/names")
def all_names(_person: Viewer, place: Here) -> Shapes:
    """What people said of names. As `feedback map --json`."""
    with reading(place.engine) as session:
        return returned_views.names_said(session)


@router.post("/feedback/names")
def explain(person: Physicist, place: Here, asked: Meaning) -> Shape:
    """Say what a name means, for the whole site. As `feedback map NAME ORGAN --json`."""
    organ = None if asked.organ is None else text(asked.organ)
    return explain_name(desk(place, person), text(asked.name), organ, text(asked.why))


@router.get("/feedback/{number}")
def one_returned(person: Viewer, place: Here, number: Number) -> Shape:
    """As `feedback show --json`."""
    with reading(place.engine) as session:
        row = returned.find_returned(session, number)
        shape = returned_views.returned_detail(session, row, place.layout.shown)
        series = row.series
    if series is not None:
        seen(place, person, series)
    return shape
