"""Does a bundle contour live cases? Then another one must have shown what it is worth before it takes its place."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState


def is_live(session: Session, bundle: Bundle) -> bool:
    """Whether a case that a bundle contoured was delivered, or done where there is no destination."""
    done = or_(Job.state == JobState.DELIVERED, (Job.state == JobState.SEGMENTED) & ~Job.deliveries.any())
    query = select(Job.id).where(Job.bundle_digest.contains(bundle.digest), ~Job.no_send, done).limit(1)
    return session.scalar(query) is not None
