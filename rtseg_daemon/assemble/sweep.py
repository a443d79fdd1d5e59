"""The sweep over open series: which are complete, which wait, which are held; complete ones become jobs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.assemble.completeness import (
    Carrier,
    Decision,
    Next,
    Patience,
    SeriesFacts,
    Slice,
    completeness,
    irregularity,
)
from rtseg_daemon.assemble.reconstructions import Candidate, still_coming
from rtseg_daemon.assemble.routing import known_bundle, models_of, route_for, tolerance_for, why_left_alone
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import JOINER, Route
from rtseg_daemon.ct.headers import is_axial_image, read_header
from rtseg_daemon.errors import RtsegError, SeriesError
from rtseg_daemon.gates.series import judge_series
from rtseg_daemon.gates.verdict import Verdict, gravest
from rtseg_daemon.ledger import associations, jobs, refusals, superseding
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Instance, Job, Series
from rtseg_daemon.ledger.series import (
    associations_of,
    hold_series,
    kept_instances,
    last_instance_id,
    open_series,
)
from rtseg_daemon.ledger.states import UNDELIVERED, JobState, SeriesState
from rtseg_daemon.logs import log
from rtseg_daemon.storage import damage

OVERTAKEN = "new slices of the series have come; it waits until the series is complete again"


@dataclass
class QuietClock:
    """How long each series has been silent, by a clock that no one can set (monotonic seconds).

    Silence begins when the sweep first sees a series in a given state, so it is counted anew after a restart of the
    supervisor, and whenever listening was resumed. While nobody listens there is none.
    """

    now: Callable[[], float] = time.monotonic
    listening: bool = True
    seen: dict[int, tuple[tuple[float, ...], float]] = field(default_factory=dict)

    def silence(self, series_id: int, *signs: float) -> float:
        """Seconds since the signs of life of this series last changed."""
        if not self.listening or self.seen.get(series_id, ((), 0.0))[0] != signs:
            self.seen[series_id] = (signs, self.now())
        return self.now() - self.seen[series_id][1]

    def forget_all_but(self, series_ids: Sequence[int]) -> None:
        self.seen = {key: value for key, value in self.seen.items() if key in set(series_ids)}


CLOCK = QuietClock()


@dataclass(frozen=True)
class Look:
    """One open series as the sweep found it: what is decided by the facts holds only while nothing more is heard of it.

    Args:
        heard: when it was last heard of (images, duplicates and refusals), by the ledger.
        newest: its newest instance.
    """

    series_id: int
    heard: float
    newest: int
    facts: SeriesFacts


def sweep(engine: Engine, config: Config, now: float, clock: QuietClock = CLOCK) -> None:
    """Look at every open series once; `now` is written into the ledger."""
    with reading(engine) as session:
        looks = [look(session, series, clock) for series in open_series(session)]
    clock.forget_all_but([one.series_id for one in looks])
    for one in looks:
        try:
            look_at(engine, config, one, now, clock)
        except (RtsegError, OSError) as error:
            log().error("a series cannot be assembled now; trying again", series=one.series_id, exc_info=error)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - a stranger's values; one series must not stop the others
            log().critical("a series breaks its assembly; trying again", series=one.series_id, exc_info=error)


def look(session: Session, series: Series, clock: QuietClock) -> Look:
    newest = last_instance_id(session, series.id)
    return Look(series.id, series.last_received_at, newest, facts_of(session, series, clock))


def look_at(engine: Engine, config: Config, found: Look, now: float, clock: QuietClock) -> None:
    """Decide about one series and act on it."""
    series_id, facts = found.series_id, found.facts
    if facts.refused:
        tell_refused(engine, series_id, now)
    decision = completeness(facts, patience_of(config))
    if decision.next is not Next.COMPLETE and irregularity(facts.slices):
        decision = completeness(replace(facts, tolerance=tolerance_for(engine, config, series_id)), patience_of(config))
    others = rivals(engine, config, series_id, clock) if decision.next is not Next.WAIT else []
    if decision.next is Next.WAIT or still_coming(others, config.series.quiet_seconds):
        stop_overtaken(engine, series_id, now)
    else:
        settle(engine, config, found, decision, now, others)


def tell_refused(engine: Engine, series_id: int, now: float) -> None:
    """An alarm for a series that lacks an image, once."""
    with writing(engine) as session:
        if refusals.alarm(session, series_id, at=now):
            log().warning("a series lacks an image that was refused", series=series_id)


def rivals(engine: Engine, config: Config, series_id: int, clock: QuietClock) -> list[Candidate]:
    """This series and the others of its study that the same route with a preference matches; empty without one.

    A series of nothing but localizers is nobody's rival, however thin its slices.
    """
    with reading(engine) as session:
        series = session.get_one(Series, series_id)
        route = route_for(series, config.routes)
        if route is None or not route.prefer:
            return []
        same_study = select(Series).where(
            Series.study_instance_uid == series.study_instance_uid, Series.state != SeriesState.REMOVED
        )
        return [
            candidate(session, one, clock)
            for one in session.scalars(same_study)
            if one.id == series_id or (route_for(one, config.routes) == route and has_images(session, one.id))
        ]


def has_images(session: Session, series_id: int) -> bool:
    """Whether any image of the series is axial."""
    kept = kept_instances(session, series_id)
    return any(is_axial_image(instance.facts.get("image_type", ())) for instance in kept)


def candidate(session: Session, series: Series, clock: QuietClock) -> Candidate:
    instances = kept_instances(session, series.id)
    thickness = instances[0].facts.get("thickness") if instances else None
    silence = clock.now() - clock.seen[series.id][1] if series.id in clock.seen else float("inf")
    return Candidate(series.id, series.description, thickness, silence)


def patience_of(config: Config) -> Patience:
    series = config.series
    return Patience(series.quiet_seconds, series.gap_wait_seconds, series.abandon_minutes * 60.0)


def facts_of(session: Session, series: Series, clock: QuietClock) -> SeriesFacts:
    """Gather what `completeness` decides by."""
    instances = kept_instances(session, series.id)
    carriers = [Carrier(a.ending, a.id, a.opened_at, a.ended_at) for a in associations_of(session, series.id)]
    silence = clock.silence(series.id, series.last_received_at, len(instances), associations.listening_since(session))
    slices = tuple(Slice(along_stack(i)) for i in instances if is_axial_image(i.facts.get("image_type", ())))
    confirmed = series.counted_instance_id == last_instance_id(session, series.id)
    refused = refusals.refused_images(session, series)
    expected = series.expected_count
    return SeriesFacts(slices, len(instances), silence, tuple(carriers), expected, confirmed, refused=refused)


def along_stack(instance: Instance) -> float | None:
    """Where a slice lies along the normal of its plane, in mm; None where it does not say."""
    position, orientation = instance.facts.get("position"), instance.facts.get("orientation")
    if position is None or orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    along = float(np.dot(normal, position))
    return along if np.isfinite(along) else None


def stop_overtaken(engine: Engine, series_id: int, now: float) -> None:
    """Hold undelivered jobs that were made before the newest slices came, so that no partial result is sent."""
    with reading(engine) as session:
        newest = last_instance_id(session, series_id)
        overtaken = [job for job in session.get_one(Series, series_id).jobs if is_overtaken(job, newest)]
    if overtaken:
        with writing(engine) as session:
            jobs.hold_undelivered(session, series_id, OVERTAKEN, releasable=True, at=now)
        log().warning("slices came after the job was made", series=series_id, jobs=[job.id for job in overtaken])


def is_overtaken(job: Job, newest: int) -> bool:
    return job.state in UNDELIVERED and job.state is not JobState.HELD and job.last_instance_id < newest


def settle(
    engine: Engine, config: Config, found: Look, decision: Decision, now: float, others: Sequence[Candidate] = ()
) -> None:
    """Close the series and make its jobs, in one transaction that does nothing if it was heard of since `found`."""
    series_id = found.series_id
    with reading(engine) as session:
        series = session.get_one(Series, series_id)
        instances = kept_instances(session, series_id)
        images = has_images(session, series_id)
        route = route_for(series, config.routes)
        left_alone = why_left_alone(series_id, images, route, others)
        route = None if left_alone else route
    files = [(config.storage.directory / instance.path, instance.sha256) for instance in instances]
    verdicts = {name: judge(files, config, name) for name in (route.jobs if route else ())}
    with writing(engine) as session:
        series = session.get_one(Series, series_id)
        heard = (series.last_received_at, last_instance_id(session, series_id))
        if series.state is not SeriesState.OPEN or heard != (found.heard, found.newest):
            return
        close_series(session, series_id, decision, left_alone, now)
        for name, verdict in verdicts.items():
            make_job(session, series_id, route, name, decision, verdict, now)


def judge(files: Sequence[tuple[Path, str]], config: Config, names: str) -> Verdict:
    """The series gate for the bundles of one job. A damaged file holds nothing here: the worker fails on it by name,
    and the job can be retried once the image has come again."""
    bundles = [known_bundle(models_of(config), name) for name in names.split(JOINER)]
    try:
        headers = [read_header(path) for path, _ in files]
        return gravest([judge_series(headers, bundle.limits) for bundle in bundles])
    except SeriesError as error:
        if any(damage(path, sha256) for path, sha256 in files):
            return Verdict("flag", (str(error),))
        return Verdict("hold", (str(error),), releasable=False)


def close_series(session: Session, series_id: int, decision: Decision, left_alone: str, now: float) -> None:
    """COMPLETE, HELD, or UNROUTED where there is a reason to leave it alone."""
    if left_alone:
        reasons = [left_alone, *decision.reasons]
        move_series(session, series_id, SeriesState.UNROUTED, what=left_alone, reasons=reasons, at=now)
    elif decision.next is Next.HOLD:
        hold_series(session, series_id, decision.reasons, at=now)
    else:
        move_series(session, series_id, SeriesState.COMPLETE, what="complete", at=now)


def make_job(
    session: Session, series_id: int, route: Route | None, bundle: str, decision: Decision, verdict: Verdict, now: float
) -> None:
    """A job for the series as it stands: QUEUED, or HELD with everything that speaks against it."""
    assert route is not None
    last = last_instance_id(session, series_id)
    job = jobs.create_job(session, series_id, last, bundle, route.name, at=now)
    older = superseding.supersede(session, series_id, bundle, by=job.id, at=now)
    job.supersedes_id = older
    job.verdicts = job.verdicts or [{"gate": "series", "verdict": verdict.verdict, "reasons": list(verdict.reasons)}]
    if older is not None:
        record_event(session, "job", job.id, "supersedes", detail={"job": older}, at=now)
    reasons = [*decision.reasons, *(verdict.reasons if verdict.verdict == "hold" else ())]
    if reasons and job.state is JobState.QUEUED:
        releasable = verdict.verdict != "hold" or verdict.releasable
        jobs.hold(session, job.id, "; ".join(dict.fromkeys(reasons)), releasable=releasable, at=now)
