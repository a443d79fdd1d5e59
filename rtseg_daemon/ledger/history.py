"""What happened to a job and its deliveries, in order, as `jobs events --json` shows it."""

from sqlalchemy.orm import Session

from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.schema import Event


def job_history(session: Session, job_id: int) -> list[views.JsonObject]:
    """The events, oldest first, each with its delivery's destination or None. Raises StateError without such a job."""
    job = views.find_job(session, job_id)
    found: list[tuple[Event, str | None]] = [(event, None) for event in events_of(session, "job", job_id)]
    for delivery in job.deliveries:
        found += [(event, delivery.destination) for event in events_of(session, "delivery", delivery.id)]
    found.sort(key=lambda pair: pair[0].id)
    return [views.event_shape(event) | {"destination": destination} for event, destination in found]
