"""POST /api/v1/...: what the commands do, by the same functions, with the name of who asks."""

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import person as named
from rtseg_daemon.upkeep import deciding
from rtseg_daemon.upkeep.drift.eras import Era, begin_era
from rtseg_daemon.web.people.guard import Operator, Person, Physicist
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.rest.asked import Again, Anew, Number, Shape, Why, text

router = APIRouter(prefix="/api/v1", tags=["act"])


def desk(place: Place, person: Person) -> deciding.Desk:
    """Where this person decides."""
    return deciding.Desk(place.engine, place.config, named(person.name), place.files)


@router.post("/jobs/{number}/rerun")
def rerun(person: Operator, place: Here, number: Number, asked: Again) -> Shape:
    """A new job for the same series. As `jobs rerun --json`."""
    bundle = text(asked.bundle) if asked.bundle else None
    return deciding.rerun(
        desk(place, person), number, text(asked.why), bundle=bundle, no_send=asked.no_send, as_of=asked.as_of
    )


@router.post("/jobs/{number}/retry")
def retry(person: Operator, place: Here, number: Number, asked: Why) -> Shape:
    """Take a FAILED job up again. As `jobs retry --json`."""
    return deciding.retry(desk(place, person), number, text(asked.why), as_of=asked.as_of)


@router.post("/jobs/{number}/cancel")
def cancel(person: Operator, place: Here, number: Number, asked: Why) -> Shape:
    """End a job that is not delivered yet. As `jobs cancel --json`."""
    return deciding.cancel(desk(place, person), number, text(asked.why), as_of=asked.as_of)


@router.post("/jobs/{number}/release")
def release(person: Physicist, place: Here, number: Number, asked: Why) -> Shape:
    """Let a HELD job go on. As `jobs release --json`. 422 without a reason."""
    if not asked.why.strip():
        raise HTTPException(422, "why: say why the job may go on")
    return deciding.release(desk(place, person), number, text(asked.why), as_of=asked.as_of)


@router.post("/jobs/{number}/review")
def review(person: Operator, place: Here, number: Number, asked: Why) -> Shape:
    """Note that a result was looked at, which takes it off the worklist. As `jobs review --json`."""
    return deciding.review(desk(place, person), number, text(asked.why), as_of=asked.as_of)


@router.post("/deliveries/{number}/retry")
def retry_delivery(person: Operator, place: Here, number: Number, asked: Why | None = None) -> Shape:
    """Send again now. As `deliveries retry --json`. The body may be left out."""
    said = asked or Why()
    return deciding.retry_delivery(desk(place, person), number, text(said.why), as_of=said.as_of)


@router.post("/alarms/{number}/ack")
def acknowledge(person: Operator, place: Here, number: Number, asked: Why) -> Shape:
    """Note that an alarm was seen. As `alarms ack --json`, of one."""
    return deciding.acknowledge(desk(place, person), number, text(asked.why))


@router.post("/quality/anew")
def limits_anew(person: Physicist, place: Here, asked: Anew) -> Shape:
    """Make the limits of an organ's charts anew. As `quality anew --json`. 422 without a reason."""
    if not asked.why.strip():
        raise HTTPException(422, "why: say why these contours are as they should be")
    era = Era(place.now(), text(asked.bundle), text(asked.organ), text(asked.route))
    with writing(place.engine) as session:
        return begin_era(session, era, who=named(person.name), why=text(asked.why))
