"""What happens to all deliveries of a job at once, and what their states make of the job."""

from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.moves import move_delivery, move_job
from rtseg_daemon.ledger.schema import Delivery, Job
from rtseg_daemon.ledger.states import ARRIVED, SENDABLE, DeliveryState, JobState
from rtseg_daemon.ledger.wake import DELIVERIES, tell


def add_deliveries(
    session: Session, job: Job, destinations: Iterable[str], *, who: str = "daemon", at: float | None = None
) -> None:
    """One WAITING delivery per destination that has none yet, due at once. Raises StateError for a shadow's job."""
    if job.shadow:
        raise StateError(f"job {job.id} is a shadow's; nothing of it leaves this machine")
    moment = or_now(at)
    known = set(session.scalars(select(Delivery.destination).where(Delivery.job_id == job.id)))
    for name in dict.fromkeys(destinations):
        if name not in known:
            _create(session, job.id, name, who, moment)


def _create(session: Session, job_id: int, destination: str, who: str, moment: float) -> None:
    delivery = Delivery(
        job_id=job_id,
        destination=destination,
        state=DeliveryState.WAITING,
        next_attempt_at=moment,
        created_at=moment,
        updated_at=moment,
    )
    session.add(delivery)
    session.flush()
    detail = {"destination": destination}
    record_event(
        session, "delivery", delivery.id, "created", to_state=DeliveryState.WAITING, detail=detail, who=who, at=moment
    )
    tell(session, DELIVERIES)


def stop_deliveries(session: Session, job_id: int, why: str, *, who: str = "daemon", at: float | None = None) -> None:
    """CANCELLED for what waits. What is on the wire may still arrive, and the ledger must then say so."""
    for delivery in _of(session, job_id, (DeliveryState.WAITING,)):
        move_delivery(
            session,
            delivery.id,
            DeliveryState.CANCELLED,
            what="cancelled",
            who=who,
            detail={"why": why},
            at=at,
            next_attempt_at=None,
        )


def wake_deliveries(
    session: Session,
    job_id: int,
    states: Collection[DeliveryState],
    destinations: Collection[str] | None,
    *,
    what: str,
    who: str,
    at: float | None = None,
) -> None:
    """WAITING again and due now, for those in these states, only to `destinations`, where they are given."""
    for delivery in _of(session, job_id, states):
        if destinations is None or delivery.destination in destinations:
            wake_delivery(session, delivery.id, what=what, who=who, at=at)


def wake_delivery(
    session: Session, delivery_id: int, *, what: str, who: str, at: float | None = None, why: str = ""
) -> Delivery:
    """WAITING again, due now. The time that it may wait is counted anew."""
    moment = or_now(at)
    return move_delivery(
        session,
        delivery_id,
        DeliveryState.WAITING,
        what=what,
        who=who,
        detail={"why": why} if why else None,
        at=moment,
        next_attempt_at=moment,
        waited_seconds=0.0,
        refused_seconds=0.0,
    )


def settle_job(session: Session, job_id: int, *, at: float | None = None) -> None:
    """What its deliveries make of a job: DELIVERED when all arrived, FAILED when one did not and none is under way."""
    job = session.get_one(Job, job_id)
    deliveries = _of(session, job_id, DeliveryState)
    lacking = [delivery for delivery in deliveries if delivery.state not in ARRIVED]
    if job.state not in SENDABLE or not deliveries:
        return
    if not lacking and job.state is JobState.DELIVERING:
        move_job(session, job_id, JobState.DELIVERED, what="delivered", at=at, error=None)
    elif lacking and not any(d.state in (DeliveryState.WAITING, DeliveryState.SENDING) for d in lacking):
        reason = "; ".join(f"{d.destination}: {d.last_comment or d.state}" for d in lacking)
        move_job(session, job_id, JobState.FAILED, what="failed", at=at, error=reason)


def _of(session: Session, job_id: int, states: Iterable[DeliveryState]) -> list[Delivery]:
    query = select(Delivery).where(Delivery.job_id == job_id, Delivery.state.in_(list(states)))
    return list(session.scalars(query.order_by(Delivery.id)))
