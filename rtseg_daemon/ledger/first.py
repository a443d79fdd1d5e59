"""Two people decide about one job: the second is told who was first, and changes nothing."""

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from rtseg_daemon.errors import AlreadyDecided
from rtseg_daemon.ledger.events import is_own
from rtseg_daemon.ledger.schema import Delivery, Event, Job
from rtseg_daemon.ledger.views import moment

LOOKS = ("viewed",)
"""What a person does that decides nothing."""


def newest_event(session: Session) -> int:
    """The number of the last event of all, 0 in an empty ledger: what a page shows is as of this one."""
    return session.scalar(select(func.max(Event.id))) or 0


def decided_since(session: Session, job_id: int, as_of: int) -> Event | None:
    """The newest decision by a person about a job, a delivery of it or a rerun of it, after the event `as_of`."""
    deliveries = select(Delivery.id).where(Delivery.job_id == job_id)
    rerun = (Event.what == "rerun") & (Event.detail["of"].as_integer() == job_id)
    about = or_(
        (Event.subject == "job") & (Event.subject_id == job_id),
        (Event.subject == "delivery") & Event.subject_id.in_(deliveries),
        (Event.subject == "job") & rerun,
    )
    query = select(Event).where(Event.id > as_of, about, Event.what.not_in(LOOKS)).order_by(Event.id.desc())
    return next((event for event in session.scalars(query) if not is_own(event.who)), None)


def refuse_second(session: Session, job_id: int, as_of: int | None) -> None:
    """Raise AlreadyDecided if a person has decided about the job after `as_of`. None asks nothing."""
    if as_of is None or session.get(Job, job_id) is None:
        return
    first = decided_since(session, job_id, as_of)
    if first is not None:
        raise AlreadyDecided(told(first, job_id))


def told(first: Event, job_id: int) -> str:
    """Who decided what and when, with the reason where one was given."""
    thing = f"job {job_id}" if first.subject == "job" else f"a delivery of job {job_id}"
    why = str(first.detail.get("why") or "")
    if first.what == "rerun":
        return (
            f"{first.who} ran job {job_id} again as job {first.subject_id} at {moment(first.at)}; nothing was changed"
        )
    reason = f" ({why})" if why else ""
    return f"{first.who} was first: {thing} {first.what} at {moment(first.at)}{reason}; nothing was changed"
