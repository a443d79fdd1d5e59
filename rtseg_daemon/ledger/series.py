"""A series in the ledger: its state, its instances, the associations that carried it."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, SQLColumnExpression, exists, func, select
from sqlalchemy.orm import Session, aliased

from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import IncomingAssociation, Instance, Series, SeriesAssociation
from rtseg_daemon.ledger.states import InstanceState, SeriesState


def kept_instance(session: Session, sop_instance_uid: str) -> Instance | None:
    """The object held under this SOP Instance UID."""
    query = select(Instance).where(Instance.sop_instance_uid == sop_instance_uid, Instance.state == InstanceState.KEPT)
    return session.scalars(query).one_or_none()


def known_instance(session: Session, sop_instance_uid: str) -> Instance | None:
    """The object held under this SOP Instance UID, or the last one that retention removed."""
    removed = (
        select(Instance)
        .where(Instance.sop_instance_uid == sop_instance_uid, Instance.state == InstanceState.REMOVED)
        .order_by(Instance.id.desc())
        .limit(1)
    )
    return kept_instance(session, sop_instance_uid) or session.scalars(removed).one_or_none()


def hold_series(
    session: Session, series_id: int, reasons: Sequence[str], *, releasable: bool = True, at: float | None = None
) -> None:
    """HELD with reasons. On a series already held the reasons are added to. Once not releasable, never again."""
    series = session.get_one(Series, series_id)
    together = list(dict.fromkeys([*(series.reasons if series.state is SeriesState.HELD else []), *reasons]))
    lasting = releasable and series.releasable
    if series.state is SeriesState.HELD:
        if together == series.reasons and lasting == series.releasable:
            return
        series.reasons, series.releasable = together, lasting
        record_event(session, "series", series_id, "held", detail={"reasons": list(reasons)}, at=at)
    else:
        move_series(session, series_id, SeriesState.HELD, what="held", reasons=together, releasable=lasting, at=at)


def open_series(session: Session) -> Sequence[Series]:
    """Series that the completeness sweep must look at: OPEN ones, oldest first."""
    return session.scalars(select(Series).where(Series.state == SeriesState.OPEN).order_by(Series.id)).all()


def expect(session: Session, series_id: int, count: int, *, steady: bool, newest: int, heard: float) -> None:
    """Remember how many images a query peer says the series has.

    Only a `steady` count is one to rely on: the same through a whole quiet time. It is one as long as nothing more is
    heard of the series. `newest` and `heard` say how it stood when it was asked about.
    """
    series = session.get_one(Series, series_id)
    series.counted_instance_id = newest if steady and series.last_received_at == heard else None
    if series.expected_count != count:
        series.expected_count = count
        record_event(session, "series", series_id, "the PACS told the count", detail={"count": count})


def kept_instances(session: Session, series_id: int, *, up_to: int | None = None) -> Sequence[Instance]:
    """KEPT instances of a series in order of arrival, with `up_to` those of a job of that `last_instance_id`."""
    query = select(Instance).where(Instance.series_id == series_id, Instance.state == InstanceState.KEPT)
    if up_to is not None:
        query = query.where(Instance.id <= up_to)
    return session.scalars(query.order_by(Instance.id)).all()


def removed_uids(session: Session, series_id: int, *, up_to: int) -> set[str]:
    """SOP Instance UIDs of which retention removed an image of a job of that `last_instance_id`; some may have come
    again since."""
    query = select(Instance.sop_instance_uid).where(
        Instance.series_id == series_id, Instance.state == InstanceState.REMOVED, Instance.id <= up_to
    )
    return set(session.scalars(query))


def partly_removed(
    series_id: int | SQLColumnExpression[int], last_instance_id: int | SQLColumnExpression[int]
) -> ColumnElement[bool]:
    """Whether retention has removed an image of a job of that `last_instance_id`, and it did not come again before the
    job was made. Each host removes its own images at an hour of its own."""
    gone, again = aliased(Instance), aliased(Instance)
    came_again = exists().where(
        again.series_id == gone.series_id,
        again.sop_instance_uid == gone.sop_instance_uid,
        again.state == InstanceState.KEPT,
        again.id <= last_instance_id,
    )
    return exists().where(
        gone.series_id == series_id,
        gone.state == InstanceState.REMOVED,
        gone.id <= last_instance_id,
        ~came_again.correlate_except(again),
    )


def last_instance_id(session: Session, series_id: int) -> int:
    """The newest KEPT instance's id: what a job made now is about. 0 if there is none."""
    query = select(func.max(Instance.id)).where(Instance.series_id == series_id, Instance.state == InstanceState.KEPT)
    return session.scalar(query) or 0


def associations_of(session: Session, series_id: int) -> Sequence[IncomingAssociation]:
    """The associations that carried slices of a series, oldest first."""
    query = (
        select(IncomingAssociation)
        .join(SeriesAssociation, SeriesAssociation.association_id == IncomingAssociation.id)
        .where(SeriesAssociation.series_id == series_id)
        .order_by(IncomingAssociation.id)
    )
    return session.scalars(query).all()
