"""The life of a delivery, and of the job that waits for its deliveries."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.ledger.job_deliveries import settle_job, wake_delivery
from rtseg_daemon.ledger.moves import move_delivery, move_job
from rtseg_daemon.ledger.retry import due
from rtseg_daemon.ledger.schema import Delivery, Destination, Job, Series
from rtseg_daemon.ledger.states import SENDABLE, DeliveryState, JobState
from rtseg_daemon.ledger.superseding import (
    LACKS_SLICES,
    refuse_in_doubt,
    refuse_superseded,
    refuse_unconfigured,
    refuse_unsendable,
)
from rtseg_daemon.ledger.wake import DELIVERIES, tell


def due_deliveries(session: Session, destination: str, now: float, longest_retry_seconds: float) -> Sequence[Delivery]:
    """WAITING deliveries of one destination whose attempt is due and whose job may be sent, oldest first."""
    query = (
        select(Delivery)
        .join(Job)
        .join(Series)
        .where(Delivery.destination == destination, Delivery.state == DeliveryState.WAITING)
        .where(Job.state.in_(SENDABLE), Series.releasable, ~LACKS_SLICES)
    )
    waiting = session.scalars(query.order_by(Delivery.id)).all()
    return [delivery for delivery in waiting if due(now, delivery.next_attempt_at, longest_retry_seconds)]


def begin_delivery(session: Session, delivery_id: int, *, at: float | None = None) -> Delivery:
    """SENDING, one attempt more. Its job becomes DELIVERING with the first. StateError if it may not be sent."""
    delivery = move_delivery(
        session, delivery_id, DeliveryState.SENDING, what="attempt", at=at, attempts=Delivery.attempts + 1
    )
    refuse_unsendable(session, delivery.job)
    if delivery.job.state is JobState.SEGMENTED:
        move_job(session, delivery.job_id, JobState.DELIVERING, what="delivery begun", at=at)
    return delivery


def record_sent(
    session: Session, delivery_id: int, status: int, comment: str | None, *, at: float | None = None
) -> Delivery:
    """SENT. The job is DELIVERED once no destination lacks it."""
    moment = or_now(at)
    delivery = move_delivery(
        session,
        delivery_id,
        DeliveryState.SENT,
        what="sent",
        detail={"status": f"0x{status:04X}", "comment": comment},
        at=moment,
        last_status=status,
        last_comment=comment,
        last_attempt_at=moment,
        next_attempt_at=None,
        sent_at=moment,
    )
    settle_job(session, delivery.job_id, at=moment)
    return delivery


def record_again(
    session: Session,
    delivery_id: int,
    status: int | None,
    comment: str,
    *,
    refused: bool,
    next_attempt_at: float,
    waited_seconds: float,
    refused_seconds: float,
    at: float | None = None,
) -> Delivery:
    """WAITING for the next attempt. `status` is None where no DICOM answer came.

    CANCELLED instead where its job was cancelled or held meanwhile.
    """
    moment = or_now(at)
    sendable = session.get_one(Delivery, delivery_id).job.state in SENDABLE
    detail = {"status": None if status is None else f"0x{status:04X}", "comment": comment}
    return move_delivery(
        session,
        delivery_id,
        DeliveryState.WAITING if sendable else DeliveryState.CANCELLED,
        what="not delivered yet" if sendable else "not delivered, and its job was stopped",
        detail=detail,
        at=moment,
        last_status=status,
        last_comment=comment,
        last_attempt_at=moment,
        next_attempt_at=next_attempt_at if sendable else None,
        planned_seconds=max(0.0, next_attempt_at - moment),
        refused=refused,
        waited_seconds=waited_seconds,
        refused_seconds=refused_seconds,
    )


def record_withdrawn(session: Session, delivery_id: int, why: str, *, at: float | None = None) -> Delivery:
    """Nothing was sent, since something came in between: CANCELLED where that stopped its job, else WAITING."""
    moment = or_now(at)
    sendable = session.get_one(Delivery, delivery_id).job.state in SENDABLE
    return move_delivery(
        session,
        delivery_id,
        DeliveryState.WAITING if sendable else DeliveryState.CANCELLED,
        what="not sent",
        detail={"why": why},
        at=moment,
        last_comment=why,
        next_attempt_at=moment if sendable else None,
    )


def unfinished_elsewhere(session: Session, configured: Sequence[str]) -> Sequence[Delivery]:
    """Deliveries that wait or were on the wire, to destinations that are not `configured`."""
    open_states = (DeliveryState.WAITING, DeliveryState.SENDING)
    query = select(Delivery).where(Delivery.state.in_(open_states), Delivery.destination.not_in(configured))
    return session.scalars(query.order_by(Delivery.id)).all()


def unfinished_of_routes_but(session: Session, allowed: Sequence[str]) -> Sequence[Delivery]:
    """Deliveries that wait or were on the wire, of jobs of other routes than `allowed`."""
    open_states = (DeliveryState.WAITING, DeliveryState.SENDING)
    query = select(Delivery).join(Job).where(Delivery.state.in_(open_states), Job.route.not_in(allowed))
    return session.scalars(query.order_by(Delivery.id)).all()


def record_failed(
    session: Session, delivery_id: int, status: int | None, reason: str, told: str, *, at: float | None = None
) -> Delivery:
    """FAILED for good, with an alarm. The job fails once nothing else of it is under way.

    `reason` stays in the ledger. `told` goes out with the alarm and holds nothing that the destination wrote, which
    may name the patient.
    """
    moment = or_now(at)
    delivery = move_delivery(
        session,
        delivery_id,
        DeliveryState.FAILED,
        what="failed",
        detail={"status": None if status is None else f"0x{status:04X}", "reason": reason},
        at=moment,
        last_status=status,
        last_comment=reason,
        last_attempt_at=moment,
        next_attempt_at=None,
    )
    message = f"job {delivery.job_id} was not delivered to {delivery.destination}: {told}"
    raise_alarm(session, "delivery", f"delivery:{delivery.id}:{delivery.attempts}", message, at=moment)
    settle_job(session, delivery.job_id, at=moment)
    return delivery


def record_left_out(
    session: Session, delivery_id: int, left_out: Mapping[str, str], *, at: float | None = None
) -> None:
    """Images (SOP Instance UID -> reason) that cannot be sent there in any form, though the structure set was sent.

    The reasons are our own words. An alarm says that the CT is to come there from elsewhere.
    """
    delivery = session.get_one(Delivery, delivery_id)
    reasons = sorted(set(left_out.values()))
    count = f"{len(left_out)} CT image{'' if len(left_out) == 1 else 's'}"
    why = f"{count} of job {delivery.job_id} not sent to {delivery.destination}: {'; '.join(reasons[:3])}"
    delivery.last_comment = f"{delivery.last_comment}; {why}"
    detail = {"images": len(left_out), "reasons": reasons[:3], "destination": delivery.destination}
    record_event(session, "delivery", delivery_id, "images not sent", detail=detail, at=at)
    message = f"{why}. The structure set was sent; send the CT there from the PACS"
    raise_alarm(session, "delivery", f"images:{delivery_id}", message, at=at)


def remember_images(session: Session, delivery_id: int, sop_instance_uids: Sequence[str]) -> None:
    """The destination has accepted these CT images. They are not sent to it again for this delivery."""
    delivery = session.get_one(Delivery, delivery_id)
    delivery.images_sent = list(dict.fromkeys([*delivery.images_sent, *sop_instance_uids]))


def resume_interrupted(session: Session, destination: str, *, at: float | None = None) -> int:
    """After a restart: what was SENDING may or may not have arrived. It is sent again under the same UID at once."""
    moment = or_now(at)
    query = select(Delivery.id).where(Delivery.destination == destination, Delivery.state == DeliveryState.SENDING)
    ids = session.scalars(query).all()
    for delivery_id in ids:
        move_delivery(
            session, delivery_id, DeliveryState.WAITING, what="daemon restarted", at=moment, next_attempt_at=moment
        )
    return len(ids)


def wake_destination(session: Session, destination: str, *, at: float | None = None) -> int:
    """Everything WAITING for a destination is due now. Returns how many were not due yet."""
    moment = or_now(at)
    query = select(Delivery).where(
        Delivery.destination == destination,
        Delivery.state == DeliveryState.WAITING,
        Delivery.next_attempt_at > moment,
    )
    asleep = session.scalars(query.order_by(Delivery.id)).all()
    for delivery in asleep:
        make_due(session, delivery, what="destination answers", who="daemon", at=moment)
    return len(asleep)


def make_due(session: Session, delivery: Delivery, *, what: str, who: str, at: float | None, why: str = "") -> None:
    """The next attempt of a WAITING delivery is now, with an event. Raises StateError where it waits no more."""
    moment = or_now(at)
    waiting = update(Delivery).where(Delivery.id == delivery.id, Delivery.state == DeliveryState.WAITING)
    changed = session.connection().execute(waiting.values(next_attempt_at=moment, updated_at=moment)).rowcount
    if changed == 0:
        raise StateError(f"delivery {delivery.id} is not WAITING any more")
    session.refresh(delivery)
    detail = {"destination": delivery.destination} | ({"why": why} if why else {})
    record_event(session, "delivery", delivery.id, what, detail=detail, who=who, at=moment)
    tell(session, DELIVERIES)


def note_destination(
    session: Session, name: str, up: bool, error: str | None = None, *, at: float | None = None
) -> bool:
    """Remember what a probe or a send said of a destination. Returns True if it was down or unknown and is up."""
    moment = or_now(at)
    row = session.get(Destination, name)
    came_back = up and (row is None or not row.up)
    if row is None:
        row = Destination(name=name, up=up, since=moment, checked_at=moment)
        session.add(row)
    elif row.up != up:
        row.up, row.since = up, moment
        record_event(session, "daemon", None, f"destination {name} is {'up' if up else 'down'}", at=moment)
    row.checked_at, row.error = moment, error
    return came_back


def retry_delivery(
    session: Session,
    delivery_id: int,
    who: str,
    *,
    configured: Sequence[str] | None = None,
    why: str = "",
    at: float | None = None,
) -> Delivery:
    """Send again now: a FAILED delivery, or one WAITING for its next attempt. Raises StateError for others.

    So too for one whose destination is not among the `configured` ones, where they are given.
    """
    delivery = session.get(Delivery, delivery_id)
    if delivery is None:
        raise StateError(f"there is no delivery {delivery_id}")
    refuse_unconfigured(delivery.job_id, [delivery.destination], configured)
    if delivery.job.state not in (*SENDABLE, JobState.FAILED):
        raise StateError(f"job {delivery.job_id} is {delivery.job.state}; its structure set is not sent")
    refuse_in_doubt(delivery.job)
    refuse_superseded(session, delivery.job)
    if delivery.state is DeliveryState.WAITING:
        make_due(session, delivery, what="retried", who=who, at=at, why=why)
        return delivery
    if delivery.state is not DeliveryState.FAILED:
        raise StateError(f"delivery {delivery_id} is {delivery.state}; only a FAILED or WAITING one can be retried")
    if delivery.job.state is JobState.FAILED:
        detail = {"why": why} if why else None
        move_job(
            session, delivery.job_id, JobState.DELIVERING, what="retried", who=who, at=at, detail=detail, error=None
        )
    return wake_delivery(session, delivery_id, what="retried", who=who, at=at, why=why)


def ask_commitment(session: Session, delivery_id: int, transaction_uid: str, *, at: float | None = None) -> None:
    """Remember the transaction before the N-ACTION goes out: the report may come after a restart."""
    delivery = session.get_one(Delivery, delivery_id)
    delivery.commitment_uid, delivery.commitment_asked_at = transaction_uid, or_now(at)
    record_event(session, "delivery", delivery_id, "commitment asked", at=at)


def record_commitment(
    session: Session, transaction_uid: str, failed: dict[str, int], *, at: float | None = None
) -> Delivery | None:
    """The destination's N-EVENT-REPORT: COMMITTED if nothing is among `failed` (SOP UID -> reason).

    None for a transaction we never asked for. A refused commitment leaves the delivery SENT, with an alarm.
    """
    query = select(Delivery).where(Delivery.commitment_uid == transaction_uid)
    delivery = session.scalars(query).one_or_none()
    if delivery is None or delivery.state is DeliveryState.COMMITTED:
        return delivery
    if failed:
        reason = ", ".join(f"0x{code:04X}" for code in sorted(set(failed.values())))
        message = f"{delivery.destination} did not commit to {len(failed)} objects of job {delivery.job_id} ({reason})"
        raise_alarm(session, "commitment", f"commitment:{transaction_uid}", message, at=at)
        delivery.last_comment = f"storage commitment refused ({reason})"
        record_event(session, "delivery", delivery.id, "commitment refused", detail={"reasons": reason}, at=at)
        return delivery
    return move_delivery(session, delivery.id, DeliveryState.COMMITTED, what="committed", at=at)
