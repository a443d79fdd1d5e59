"""The only way that anything in the ledger changes its state: by the table, guarded, and with its event."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, true, update
from sqlalchemy.orm import Session

from rtseg_daemon.errors import LeaseLost, StateError
from rtseg_daemon.ledger.clock import or_now
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.leases import Lease, held_by
from rtseg_daemon.ledger.schema import Delivery, Job, Series
from rtseg_daemon.ledger.states import (
    DELIVERY_TRANSITIONS,
    JOB_TRANSITIONS,
    RETURNED_TRANSITIONS,
    SERIES_TRANSITIONS,
    UNFINISHED,
    DeliveryState,
    JobState,
    ReturnedState,
    SeriesState,
)
from rtseg_daemon.ledger.wake import DELIVERIES, JOBS, tell

State = TypeVar("State", SeriesState, JobState, DeliveryState, ReturnedState)


def move_series(
    session: Session,
    series_id: int,
    to: SeriesState,
    *,
    what: str,
    who: str = "daemon",
    reasons: Sequence[str] = (),
    releasable: bool | None = None,
    at: float | None = None,
) -> None:
    """Take a series to another state with its event. Raises StateError where the table does not allow it."""
    series = session.get_one(Series, series_id)
    values: dict[str, Any] = {"reasons": list(reasons)}
    if releasable is not None:
        values["releasable"] = releasable
    detail = {"reasons": list(reasons)} if reasons else {}
    before = series.state
    if not _move(session, series, before, to, SERIES_TRANSITIONS, values, what=what, who=who, detail=detail, at=at):
        raise StateError(f"series {series_id} is {before} and cannot become {to}")


def move_job(
    session: Session,
    job_id: int,
    to: JobState,
    *,
    what: str,
    who: str = "daemon",
    lease: Lease | None = None,
    detail: dict[str, Any] | None = None,
    at: float | None = None,
    told: bool = True,
    **values: Any,
) -> Job:
    """Take a job to another state, set further columns, write the event (unless it is not to be `told` once more).

    With `lease` only while the job has that one (else LeaseLost). Raises StateError where the transition table
    does not allow it, naming the state the job is in.
    """
    job = session.get(Job, job_id)
    if job is None:
        raise StateError(f"there is no job {job_id}")
    if to is not JobState.RUNNING:
        values |= {"lease_owner": None, "lease_until": None}
    if to not in UNFINISHED:
        values |= {"put_offs": 0, "not_before": None, "behind": 0}
    leased = true() if lease is None else held_by(lease)
    before = job.state
    event = what if told else None
    if _move(session, job, before, to, JOB_TRANSITIONS, values, leased, what=event, who=who, detail=detail, at=at):
        if to is JobState.QUEUED:
            tell(session, JOBS)
        return job
    if lease is not None:
        raise LeaseLost(f"job {job_id} is {before} and no longer leased to {lease}")
    raise StateError(f"job {job_id} is {before} and cannot become {to}")


def move_delivery(
    session: Session,
    delivery_id: int,
    to: DeliveryState,
    *,
    what: str,
    who: str = "daemon",
    detail: dict[str, Any] | None = None,
    at: float | None = None,
    **values: Any,
) -> Delivery:
    """Take a delivery to another state, set further columns, write the event, whose detail names the destination.

    Raises StateError where the table does not allow it.
    """
    delivery = session.get(Delivery, delivery_id)
    if delivery is None:
        raise StateError(f"there is no delivery {delivery_id}")
    before, told = delivery.state, {"destination": delivery.destination} | (detail or {})
    if not _move(session, delivery, before, to, DELIVERY_TRANSITIONS, values, what=what, who=who, detail=told, at=at):
        raise StateError(f"delivery {delivery_id} is {before} and cannot become {to}")
    if to is DeliveryState.WAITING:
        tell(session, DELIVERIES)
    return delivery


def move_returned(
    session: Session,
    set_id: int,
    to: ReturnedState,
    *,
    what: str,
    who: str = "daemon",
    reasons: Sequence[str] = (),
    detail: dict[str, Any] | None = None,
    at: float | None = None,
    **values: Any,
) -> ReturnedSet:
    """Take a structure set that came back to another state, set further columns, write the event.

    Raises StateError where the table does not allow it.
    """
    returned = session.get(ReturnedSet, set_id)
    if returned is None:
        raise StateError(f"there is no returned structure set {set_id}")
    values["reasons"] = list(reasons)
    before, told = returned.state, ({"reasons": list(reasons)} if reasons else {}) | (detail or {})
    if not _move(session, returned, before, to, RETURNED_TRANSITIONS, values, what=what, who=who, detail=told, at=at):
        raise StateError(f"returned structure set {set_id} is {before} and cannot become {to}")
    return returned


def _move(
    session: Session,
    row: Series | Job | Delivery | ReturnedSet,
    before: State,
    to: State,
    transitions: Mapping[State, frozenset[State]],
    values: dict[str, Any],
    condition: ColumnElement[bool] = true(),
    *,
    what: str | None,
    who: str,
    detail: dict[str, Any] | None,
    at: float | None,
) -> bool:
    """Move a row that is in the state `before`, while the condition holds too. Returns False if it did not move.

    The event is written where there is a `what`.
    """
    if to not in transitions[before]:
        return False
    moment = or_now(at)
    table = type(row)
    session.flush()  # what was set on the row before would be lost when it is read again below
    guarded = update(table).where(table.id == row.id, table.state == before, condition)
    if session.connection().execute(guarded.values(state=to, updated_at=moment, **values)).rowcount == 0:
        return False
    session.refresh(row)
    subject = table.__tablename__
    if what is not None:
        record_event(session, subject, row.id, what, from_state=before, to_state=to, detail=detail, who=who, at=moment)
    return True
