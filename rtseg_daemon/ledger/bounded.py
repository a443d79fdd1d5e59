"""Questions whose cost does not grow with what is done: asked of an index, of what waits, or of what is still here."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from rtseg_daemon.ledger.schema import Delivery
from rtseg_daemon.ledger.states import DeliveryState

TO_BE_SENT = select(Delivery.job_id).where(Delivery.state.in_((DeliveryState.WAITING, DeliveryState.SENDING)))
"""Jobs of which something is still to be sent. A SEGMENTED job is done without: it was made for a look alone."""


def unsorted(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """A column by which nobody can look in an index: what is asked for is found by something else."""
    return func.coalesce(column, column)


def each_value(session: Session, column: InstrumentedAttribute[Any], *conditions: ColumnElement[bool]) -> Sequence[Any]:
    """The different values of a column, sorted, without NULL: one step in an index for each, however many rows."""
    values = each_of(column, *conditions)
    return session.scalars(select(values.c.value).where(values.c.value.is_not(None))).all()


def each_of(column: InstrumentedAttribute[Any], *conditions: ColumnElement[bool]) -> Any:
    """The same as a common table expression with the column `value`, whose last row is NULL."""
    first: Select[Any] = select(func.min(column).label("value")).where(*conditions)
    found = first.cte("found", recursive=True)
    later = select(func.min(column)).where(column > found.c.value, *conditions).scalar_subquery()
    return found.union_all(select(later).where(found.c.value.is_not(None)))
