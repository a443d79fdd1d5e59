"""All sets of a case are one history: which of their contours count is worked out anew whenever one of them changes."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.feedback.counting import Version, counted
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.returned import SUBJECT
from rtseg_daemon.ledger.states import ARRIVED, ReturnedState

MEASURED = (ReturnedState.NAMES, ReturnedState.MEASURED)
"""States of sets that may count."""


def settle_case(session: Session, series_id: int) -> None:
    """Enter which contours of a series' sets count, and which sets are superseded."""
    session.flush()
    rows = session.scalars(select(ReturnedSet).where(ReturnedSet.series_id == series_id).order_by(ReturnedSet.id)).all()
    found = counted([version(row) for row in rows if row.state in MEASURED and not withdrawn(row, rows)])
    for row in rows:
        for roi in row.rois:
            roi.counts = roi.id in found.rois
        newer = found.superseded.get(row.id)
        if newer != row.superseded_by_id:
            row.superseded_by_id = newer
            record_event(session, SUBJECT, row.id, "superseded" if newer else "counts again", detail={"by": newer})


def withdrawn(row: ReturnedSet, rows: Sequence[ReturnedSet]) -> bool:
    """Whether the same object came later with other bytes: what it says then is what it says now, whatever that is."""
    return any(one.id > row.id and one.sop_instance_uid == row.sop_instance_uid for one in rows)


def version(row: ReturnedSet) -> Version:
    """One set as far as counting asks."""
    deliveries = row.job.deliveries if row.job else []
    sent = [one.sent_at for one in deliveries if one.state in ARRIVED and one.sent_at is not None]
    return Version(
        set_id=row.id,
        approval=row.approval,
        said_at=row.approved_at or row.made_at,
        received_at=row.received_at,
        sent_at=min(sent, default=None),
        organs={roi.organ: roi.id for roi in row.rois if roi.organ and roi.contours and roi.fit},
    )
