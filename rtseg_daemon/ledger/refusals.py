"""Images that were offered and are not kept: a series short of one must not pass for whole."""

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.arrivals import heard_at
from rtseg_daemon.ledger.events import raise_alarm, was_raised
from rtseg_daemon.ledger.jobs import hold_undelivered
from rtseg_daemon.ledger.leases import ledger_moment
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Refusal, Series, SeriesAssociation
from rtseg_daemon.ledger.series import associations_of, kept_instance
from rtseg_daemon.ledger.states import Ending, SeriesState

REFUSED = "an image of its series was refused after the job was made"


def note_refusal(
    session: Session, association_id: int, series_uid: str, sop_uid: str, *, at: float | None = None
) -> None:
    """An image is not kept: what came of its series is not the whole, until that image comes.

    A series that was taken for whole is open again, and what was made of it waits.
    """
    moment = ledger_moment(session, at)
    same = select(Refusal).where(Refusal.series_instance_uid == series_uid, Refusal.sop_instance_uid == sop_uid)
    refusal = session.scalars(same).first() if sop_uid else None
    if refusal is None:
        refusal = Refusal(series_instance_uid=series_uid, sop_instance_uid=sop_uid)
        session.add(refusal)
    refusal.association_id, refusal.at = association_id, moment
    series = session.scalars(select(Series).where(Series.series_instance_uid == series_uid)).one_or_none()
    if series is None or kept_instance(session, sop_uid) is not None:
        return
    series.last_received_at, series.counted_instance_id = heard_at(series.last_received_at, moment), None
    if series.state is SeriesState.COMPLETE and series.releasable:
        move_series(session, series.id, SeriesState.OPEN, what="an image was refused", at=moment)
        hold_undelivered(session, series.id, REFUSED, releasable=True, at=moment)


def refused_images(session: Session, series: Series) -> int:
    """How many images of the series were refused and have not come since.

    One that named no series counts for all that its association carried. Where it, or its own name, is unknown, a
    later association that carried the series and was released makes it good.
    """
    carried = select(SeriesAssociation.association_id).where(SeriesAssociation.series_id == series.id)
    query = select(Refusal).where(
        (Refusal.series_instance_uid == series.series_instance_uid)
        | ((Refusal.series_instance_uid == "") & Refusal.association_id.in_(carried))
    )
    refusals = session.scalars(query).all()
    if not refusals:
        return 0
    released = [a.opened_at for a in associations_of(session, series.id) if a.ending is Ending.RELEASED]
    last = max(released, default=0.0)
    return sum(not _made_good(session, refusal, last) for refusal in refusals)


def _made_good(session: Session, refusal: Refusal, last_opened: float) -> bool:
    if kept_instance(session, refusal.sop_instance_uid) is not None:
        return True
    nameless = not (refusal.series_instance_uid and refusal.sop_instance_uid)
    return nameless and last_opened >= refusal.at


def alarm(session: Session, series_id: int, *, at: float) -> bool:
    """Tell people of a series that lacks an image, once."""
    message = f"series {series_id}: an image of it was refused; the log says why; mend it and send the series again"
    return raise_alarm(session, "refused", _key(series_id), message, at=at)


def alarmed(session: Session, series_id: int) -> bool:
    """Whether people were told that the series lacks an image."""
    return was_raised(session, _key(series_id))


def _key(series_id: int) -> str:
    return f"refused:{series_id}"


def forget(session: Session, before: float) -> None:
    """Drop what is old and of no series that is here: a held one stays, however old, and still lacks its image."""
    here = Series.state != SeriesState.REMOVED
    named = exists().where(Series.series_instance_uid == Refusal.series_instance_uid, here)
    carried = exists().where(
        SeriesAssociation.association_id == Refusal.association_id, Series.id == SeriesAssociation.series_id, here
    )
    needed = named | ((Refusal.series_instance_uid == "") & carried)
    session.execute(delete(Refusal).where(Refusal.at < before, ~needed))
