"""Deleting what is old enough and needed by nobody. What is held, failed or not delivered stays, however old."""

from collections.abc import Sequence

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger import refusals
from rtseg_daemon.ledger.bounded import unsorted
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.jobs import cancel
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Instance, Job, Series, Setting
from rtseg_daemon.ledger.states import InstanceState, JobState, SeriesState
from rtseg_daemon.logs import log
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import returned_retention

CLOCK_KEY = "clock_seen"
PAUSE_KEY = "retention_not_before"
LEAP_SECONDS = 2 * 86400.0
PAUSE_SECONDS = 86400.0
BATCH = 100
Removed = tuple[str, str]
"""SOP Instance UID and path of an object that is not kept any more."""
ENDED = (SeriesState.COMPLETE, SeriesState.UNROUTED)


def removable(series: Series, before: float) -> bool:
    """Whether a series' files may go: old enough, and every job of it delivered or ended by a person.

    A held series has been decided about once its jobs are at their end. One whose identity is in doubt stays. A
    shadow's job keeps nothing, unless it is running.
    """
    wanted = [job for job in series.jobs if not job.shadow]
    decided = series.state is SeriesState.HELD and series.releasable and bool(wanted)
    if series.last_received_at >= before or not (decided or series.state in ENDED):
        return False
    if any(job.shadow and job.state is JobState.RUNNING for job in series.jobs):
        return False  # a worker is reading the files
    return all(finished(job) and job.updated_at < before for job in wanted)


def finished(job: Job) -> bool:
    """Delivered, cancelled, or segmented for nobody (`rerun --no-send`)."""
    return job.state in (JobState.DELIVERED, JobState.CANCELLED) or (
        job.state is JobState.SEGMENTED and not job.deliveries
    )


def remove_old(engine: Engine, layout: Layout, keep_seconds: float, now: float, answer_seconds: float = 0.0) -> int:
    """Remove files older than `keep_seconds`. The ledger says REMOVED first, so a crash leaves an orphan and no lie.

    Rows stay: who was contoured when, and with which bundle, is not forgotten. Our structure sets stay for
    `answer_seconds` after their last change: what comes back is measured against them. So do sets that came back.
    Returns how many series went.
    """
    if not clock_trusted(engine, now):
        return 0
    with reading(engine) as session:
        # by what is here: by time, everything that is gone would be looked at
        here = select(Series).where(Series.state.in_([*ENDED, SeriesState.HELD]))
        query = here.where(unsorted(Series.last_received_at) < now - keep_seconds)
        ids = [series.id for series in session.scalars(query) if removable(series, now - keep_seconds)]
    with writing(engine) as session:
        refusals.forget(session, now - keep_seconds)
    for series_id in ids:
        _remove(engine, layout, series_id, now - keep_seconds, now)
    longest = max(keep_seconds, answer_seconds)
    returned_retention.remove_old_sets(engine, layout, longest, now)
    returned_retention.remove_old_results(engine, layout, longest, now)
    return len(ids)


def _remove(engine: Engine, layout: Layout, series_id: int, before: float, now: float) -> None:
    with writing(engine) as session:
        series = session.get_one(Series, series_id)
        if not removable(series, before):
            return
        removed = _mark_removed(session, series, layout.host, now)
        jobs = list(series.jobs)
    delete_files(engine, layout, removed)
    for job in jobs:
        returned_retention.strip(layout, job)
    log().info("retention removed a series", series=series_id, files=len(removed))


def _mark_removed(session: Session, series: Series, host: str, now: float) -> list[Removed]:
    """REMOVED for the images of this host, and for the series when no other host has any of it.

    No shadow is made of what is left.
    """
    kept = [instance for instance in series.instances if instance.state is InstanceState.KEPT]
    ours = [instance for instance in kept if instance.host == host]
    for instance in ours:
        instance.state = InstanceState.REMOVED
    session.flush()
    removed = [(instance.sop_instance_uid, instance.path) for instance in ours]
    if kept and not ours:
        return removed
    for job in series.jobs:
        if job.shadow and job.state is JobState.QUEUED:
            cancel(session, job.id, who="daemon", why="its images were removed", at=now)
    if len(ours) < len(kept):
        return removed
    move_series(session, series.id, SeriesState.REMOVED, what="removed by retention", at=now)
    return removed


def delete_files(engine: Engine, layout: Layout, removed: Sequence[Removed]) -> None:
    """Delete the files of removed objects, and folders that are empty then.

    A file is named by its day and content, so an image that is sent again the same day has the same name. Reception
    names files in its write transaction. Deleting in one, too, makes one wait for the other: what is kept again stays.
    """
    for batch in batched(removed, BATCH):
        with writing(engine) as session:
            asked = Instance.sop_instance_uid.in_([uid for uid, _ in batch]) & (Instance.state == InstanceState.KEPT)
            needed = set(session.scalars(select(Instance.path).where(asked)))
            gone = [layout.directory / path for _, path in batch if path not in needed]
            for path in gone:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in gone}:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def batched(items: Sequence[Removed], size: int) -> list[Sequence[Removed]]:
    """The items in pieces: reception waits while one is worked on."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def clock_trusted(engine: Engine, now: float) -> bool:
    """False for a day after the clock was seen to leap by two days or more: a wrong clock must not delete anything."""
    with writing(engine) as session:
        seen, pause = _number(session, CLOCK_KEY), _number(session, PAUSE_KEY)
        session.merge(Setting(key=CLOCK_KEY, value=repr(now)))
        if seen is not None and abs(now - seen) > LEAP_SECONDS:
            days = (now - seen) / 86400.0
            message = f"the clock moved by {days:.1f} days since retention last looked; nothing is deleted for a day"
            raise_alarm(session, "clock", f"clock:{int(now)}", message, at=now)
            session.merge(Setting(key=PAUSE_KEY, value=repr(now + PAUSE_SECONDS)))
            return False
    return pause is None or now >= pause or pause > now + PAUSE_SECONDS


def _number(session: Session, key: str) -> float | None:
    setting = session.get(Setting, key)
    return float(setting.value) if setting else None
