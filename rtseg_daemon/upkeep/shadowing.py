"""Candidates in the shadow: once a case is delivered, a job for each candidate that its route names.

Few wait at a time, the newest cases first. On a busy machine cases are left out, and nothing else is ever late.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from rtseg_daemon.assemble.routing import known_bundle
from rtseg_daemon.bundles import models_of
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Route
from rtseg_daemon.errors import BundleError
from rtseg_daemon.ledger.bounded import unsorted
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.jobs import create_job
from rtseg_daemon.ledger.schema import Instance, Job, Series
from rtseg_daemon.ledger.series import partly_removed
from rtseg_daemon.ledger.states import InstanceState, JobState, SeriesState
from rtseg_daemon.logs import log

MOST_WAITING = 4
"""So many jobs of shadows wait at a time."""


def make_shadows(engine: Engine, config: Config, now: float) -> int:
    """Make jobs for what was delivered and not yet seen by a candidate of its route. Returns how many were made."""
    made = 0
    for route in config.routes:
        for candidate in route.shadow:
            made += make_of(engine, config, route, candidate, now)
    return made


def make_of(engine: Engine, config: Config, route: Route, candidate: str, now: float) -> int:
    """The jobs of one candidate of one route. One that is not installed, or is damaged, makes none."""
    try:
        digest = known_bundle(models_of(config), candidate).digest
    except BundleError as error:
        log().warning("a shadow cannot be used; nothing is contoured by it", bundle=candidate, reason=str(error))
        return 0
    with reading(engine) as session:
        if not ready(session, route.name, candidate, digest):
            return 0
    with writing(engine) as session:
        cases = ready(session, route.name, candidate, digest)
        for case in cases:
            shadow_of(session, case, candidate, now)
        return len(cases)


def ready(session: Session, route: str, candidate: str, digest: str) -> Sequence[Job]:
    """Delivered jobs of a route, the newest first, that wait for this candidate: as many as there is room for.

    What the candidate itself has made is not contoured by it once more.
    """
    waiting = select(func.count()).where(Job.shadow, Job.state == JobState.QUEUED)
    room = MOST_WAITING - (session.scalar(waiting) or 0)
    if room <= 0:
        return ()
    other, newer = aliased(Job), aliased(Job)
    seen = exists().where(
        other.series_id == Job.series_id,
        other.last_instance_id == Job.last_instance_id,
        or_(and_(other.shadow, other.bundle == candidate), and_(~other.shadow, other.bundle_digest == digest)),
    )
    overtaken = exists().where(newer.series_id == Job.series_id, newer.id > Job.id, ~newer.shadow, ~newer.no_send)
    kept = exists().where(Instance.series_id == Job.series_id, Instance.state == InstanceState.KEPT)
    whole = and_(kept, ~partly_removed(Job.series_id, Job.last_instance_id))
    # found by the series that are still here: by route, state or number every case would be looked at that ever was
    state = unsorted(Job.state)
    query = (
        select(Job)
        .join(Series)
        .where(unsorted(Job.route) == route, unsorted(Job.shadow).is_(False), ~Job.no_send, ~seen, ~overtaken, whole)
        .where(or_(state == JobState.DELIVERED, and_(state == JobState.SEGMENTED, ~Job.deliveries.any())))
        .where(Series.state.in_((SeriesState.COMPLETE, SeriesState.HELD)), Series.releasable)
        .order_by(unsorted(Job.id).desc())
        .limit(room)
    )
    return session.scalars(query).all()


def shadow_of(session: Session, case: Job, candidate: str, now: float) -> Job:
    """The candidate's job. What a person let go of the images of the case is let go for the candidate too."""
    job = create_job(session, case.series_id, case.last_instance_id, candidate, case.route, shadow=True, at=now)
    if case.released_by is not None:
        job.verdicts, job.released_by = list(case.verdicts), case.released_by
    record_event(session, "job", job.id, "shadow", detail={"of": case.id}, at=now)
    return job
