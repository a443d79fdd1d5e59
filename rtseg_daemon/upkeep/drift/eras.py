"""A person says that how an organ is contoured from now on is as it should be: limits are made anew.

What was before is still shown, and judges nothing that comes later.
"""

from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.values import VERSION_MARK
from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.schema import Event, Job
from rtseg_daemon.ledger.views import moment

SUBJECT = "quality"
WHAT = "limits anew"
LOOKED_AT = 50


@dataclass(frozen=True)
class Era:
    """Since when the limits of an organ of a bundle are made anew (seconds since 1970). An empty `route`: of all."""

    at: float
    bundle: str
    organ: str
    route: str = ""

    def holds(self, bundle: str, route: str, organ: str) -> bool:
        return (self.bundle, self.organ) == (bundle, organ) and self.route in ("", route)


def eras(session: Session) -> list[Era]:
    """Every time that somebody said so, oldest first."""
    query = select(Event.at, Event.detail).where(Event.subject == SUBJECT, Event.what == WHAT).order_by(Event.id)
    return [
        Era(at, str(detail.get("bundle")), str(detail.get("organ")), str(detail.get("route") or ""))
        for at, detail in session.execute(query)
    ]


def begin_era(session: Session, era: Era, *, who: str, why: str) -> dict[str, object]:
    """Enter it with who said so and why, and return what was entered.

    Raises StateError, and enters nothing, without a reason, or where no result of the bundle has the organ.
    """
    if not why.strip():
        raise StateError("say why these contours are as they should be; it stands in the audit trail")
    there = organs_of(session, era.bundle)
    if era.organ not in there:
        raise StateError(f"no result of {era.bundle} has {era.organ} (there: {', '.join(there) or 'none'})")
    detail: dict[str, object] = {"bundle": era.bundle, "organ": era.organ, "route": era.route or None, "why": why}
    record_event(session, SUBJECT, None, WHAT, detail=detail, who=who, at=era.at)
    return detail | {"at": moment(era.at), "who": who}


def organs_of(session: Session, bundle: str) -> list[str]:
    """The organs of a bundle's newest results."""
    mine = or_(Job.bundle == bundle, Job.bundle.startswith(bundle + VERSION_MARK, autoescape=True))
    newest = select(Job.rois).where(mine, Job.bundle_digest.is_not(None)).order_by(Job.id.desc()).limit(LOOKED_AT)
    return sorted({str(roi.get("name", "")) for rois in session.scalars(newest) for roi in rois})
