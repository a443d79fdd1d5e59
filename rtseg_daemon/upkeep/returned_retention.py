"""What is kept for structure sets that may come back, and how long: our own results, and the sets themselves."""

import shutil
from pathlib import Path

from sqlalchemy import Engine, or_, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.returned import SUBJECT
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.states import ReturnedState, SeriesState
from rtseg_daemon.logs import log
from rtseg_daemon.storage import Layout

DECIDED = (ReturnedState.MEASURED, ReturnedState.APART)
"""States of sets that nobody works on or is asked about."""


def strip(layout: Layout, job: Job) -> None:
    """Remove what a job's result holds beside its structure set. That goes with `remove_old_results`."""
    folder = layout.result(job.id)
    for path in folder.iterdir() if folder.is_dir() else ():
        if job.rtstruct_path is None or path.name != Path(job.rtstruct_path).name:
            path.unlink(missing_ok=True)


def remove_old_sets(engine: Engine, layout: Layout, keep_seconds: float, now: float) -> int:
    """Remove sets that came longer ago, once their series is removed or was never known. Returns how many went.

    Rows and figures stay. A set that waits for a name or for our own result stays, however old.
    """
    with reading(engine) as session:
        gone = or_(ReturnedSet.series_id.is_(None), Series.state == SeriesState.REMOVED)
        query = select(ReturnedSet.id).outerjoin(Series, ReturnedSet.series_id == Series.id)
        query = query.where(ReturnedSet.received_at < now - keep_seconds, ReturnedSet.path != "", gone)
        query = query.where(ReturnedSet.host == layout.host)
        old = session.scalars(query.where(ReturnedSet.state.in_(DECIDED))).all()
    for set_id in old:
        with writing(engine) as session:
            row = session.get_one(ReturnedSet, set_id)
            if not row.path:  # another host was faster
                continue
            path, row.path = layout.directory / row.path, ""
            record_event(session, SUBJECT, row.id, "removed by retention", at=now)
        path.unlink(missing_ok=True)
    if old:
        log().info("retention removed structure sets that came back", sets=len(old))
    return len(old)


def remove_old_results(engine: Engine, layout: Layout, keep_seconds: float, now: float) -> int:
    """Remove structure sets of ours that outlived their images, once no set may be measured against them any more."""
    count = 0
    for folder in layout.results.iterdir():
        if folder.name.isdigit():
            with reading(engine) as session:
                job = session.get(Job, int(folder.name))
                done = job is not None and is_over(session, job, now - keep_seconds)
            if done:
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
    return count


def is_over(session: Session, job: Job, before: float) -> bool:
    """Whether a job's images are removed, its case is old, and every set of the case is removed too.

    A shadow's result goes with those that were sent.
    """
    wanted = [one for one in job.series.jobs if not one.shadow]
    if job.series.state is not SeriesState.REMOVED or any(one.updated_at >= before for one in wanted):
        return False
    kept = select(ReturnedSet.id).where(ReturnedSet.series_id == job.series_id, ReturnedSet.path != "").limit(1)
    return session.scalar(kept) is None
