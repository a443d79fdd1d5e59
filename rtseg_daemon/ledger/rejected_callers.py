"""Callers whose associations were rejected: who, why and how often. Bounded, whatever strangers call themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.schema import RejectedCaller, Setting

MOST_ROWS = 200
TOTALS_KEY = "rejected_associations"


@dataclass(frozen=True)
class CallerSeen:
    """A caller as it named itself. Titles are empty where there was no association request.

    Args:
        kind: the short name of the reason, for metrics.
        reason: the same for people.
    """

    calling_ae: str
    called_ae: str
    host: str
    kind: str
    reason: str


def count_rejected(session: Session, seen: Mapping[CallerSeen, int], at: float) -> None:
    """Add so many rejections of each caller. The rows that were not touched for longest go when there are too many."""
    totals = rejected_totals(session)
    for caller, count in seen.items():
        totals[caller.kind] = totals.get(caller.kind, 0) + count
        row = session.scalars(
            select(RejectedCaller).where(
                RejectedCaller.calling_ae == caller.calling_ae,
                RejectedCaller.called_ae == caller.called_ae,
                RejectedCaller.host == caller.host,
                RejectedCaller.reason == caller.reason,
            )
        ).one_or_none()
        if row is None:
            values = {"calling_ae": caller.calling_ae, "called_ae": caller.called_ae, "host": caller.host}
            session.add(RejectedCaller(**values, reason=caller.reason, count=count, first_at=at, last_at=at))
        else:
            row.count, row.last_at = row.count + count, at
    session.merge(Setting(key=TOTALS_KEY, value=json.dumps(totals)))
    session.flush()
    newest = select(RejectedCaller.id).order_by(RejectedCaller.last_at.desc(), RejectedCaller.id.desc())
    session.execute(delete(RejectedCaller).where(RejectedCaller.id.not_in(newest.limit(MOST_ROWS))))


def rejected_totals(session: Session) -> dict[str, int]:
    """How many associations were ever rejected, by the short name of the reason."""
    setting = session.get(Setting, TOTALS_KEY)
    return dict(json.loads(setting.value)) if setting else {}


def rejected_since(session: Session, since: float, limit: int | None = None) -> Sequence[RejectedCaller]:
    """Callers that were rejected since then, the last one first."""
    query = select(RejectedCaller).where(RejectedCaller.last_at >= since)
    return session.scalars(query.order_by(RejectedCaller.last_at.desc(), RejectedCaller.id.desc()).limit(limit)).all()
