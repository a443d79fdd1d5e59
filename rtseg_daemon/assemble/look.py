"""One look at an open series: what a single reading transaction tells of it, before anything is decided."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.assemble.completeness import Carrier, SeriesFacts, Slice
from rtseg_daemon.assemble.quiet_clock import QuietClock
from rtseg_daemon.assemble.reconstructions import Candidate
from rtseg_daemon.assemble.routing import route_for
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Route
from rtseg_daemon.ct.headers import is_axial_image
from rtseg_daemon.ledger import associations, refusals
from rtseg_daemon.ledger.hosts import gone_since
from rtseg_daemon.ledger.schema import Instance, Job, Series
from rtseg_daemon.ledger.series import associations_of, kept_instances
from rtseg_daemon.ledger.states import UNDELIVERED, UNFINISHED, Ending, JobState, SeriesState
from rtseg_daemon.stored import Stored, image


@dataclass(frozen=True)
class Look:
    """One open series as the sweep found it: what is decided by it holds only while nothing more is heard of it.

    Args:
        heard: when it was last heard of (images, duplicates and refusals), by the ledger.
        newest: its newest instance, or 0 if there is none.
        facts: what its completeness is decided by.
        route: the first that takes it.
        rivals: it and the other reconstructions of its study, where the route prefers one. Else empty.
        files: its images.
        overtaken: undelivered jobs that were made before the newest slices came, and are not held.
        untold: whether images of it were refused, and nobody was told.
        patient: its PatientID.
    """

    series_id: int
    heard: float
    newest: int
    facts: SeriesFacts
    route: Route | None = None
    rivals: tuple[Candidate, ...] = ()
    files: tuple[Stored, ...] = ()
    overtaken: tuple[int, ...] = ()
    untold: bool = False
    patient: str = ""


def look(session: Session, series: Series, config: Config, clock: QuietClock) -> Look:
    """Gather all that is known of the series. Nothing outside of the ledger is opened."""
    instances = kept_instances(session, series.id)
    newest = instances[-1].id if instances else 0
    facts = facts_of(session, series, instances, clock)
    route = route_for(series, config.routes)
    return Look(
        series.id,
        series.last_received_at,
        newest,
        facts,
        route,
        rivals=rivals_of(session, series, instances, facts.silence_seconds, config, clock),
        files=tuple(image(one) for one in instances),
        overtaken=tuple(job.id for job in series.jobs if is_overtaken(job, newest)),
        untold=facts.refused > 0 and not refusals.alarmed(session, series.id),
        patient=series.patient_id,
    )


def facts_of(session: Session, series: Series, instances: Sequence[Instance], clock: QuietClock) -> SeriesFacts:
    """What `completeness` decides by."""
    return SeriesFacts(
        slices=tuple(Slice(along_stack(one)) for one in instances if is_axial(one)),
        received=len(instances),
        silence_seconds=silence_of(session, series, instances, clock),
        carriers=carriers_of(session, series),
        expected=series.expected_count,
        confirmed=series.counted_instance_id == (instances[-1].id if instances else 0),
        refused=refusals.refused_images(session, series),
        brought=brought_by(instances),
    )


def carriers_of(session: Session, series: Series) -> tuple[Carrier, ...]:
    """The associations that carried a series, oldest first. One that is open at a host that is away died with it."""
    found = []
    for one in associations_of(session, series.id):
        gone = gone_since(session, one.host) if one.ending is Ending.OPEN else None
        ending, ended_at = (one.ending, one.ended_at) if gone is None else (Ending.DIED, gone)
        found.append(Carrier(ending, one.id, one.opened_at, ended_at))
    return tuple(found)


def brought_by(instances: Sequence[Instance]) -> tuple[frozenset[int], ...]:
    """For each image the associations that brought it."""
    pairs = ((one.association_id, one.repeated_in) for one in instances)
    return tuple(frozenset(number for number in pair if number is not None) for pair in pairs)


def silence_of(session: Session, series: Series, instances: Sequence[Instance], clock: QuietClock) -> float:
    """Seconds, endless for a series that is not open."""
    if series.state is not SeriesState.OPEN:
        return float("inf")
    listening_since = associations.listening_since(session)
    return clock.silence(series.id, series.last_received_at, len(instances), listening_since)


def rivals_of(
    session: Session,
    series: Series,
    instances: Sequence[Instance],
    silence_seconds: float,
    config: Config,
    clock: QuietClock,
) -> tuple[Candidate, ...]:
    """This series and the others of its study that the same route with a preference matches. Empty without one.

    While this one is still coming, the others are not looked at. A series of nothing but localizers is nobody's rival,
    however thin its slices.
    """
    route = route_for(series, config.routes)
    if route is None or not route.prefer:
        return ()
    found = [candidate(series, instances, silence_seconds)]
    if silence_seconds < config.series.quiet_seconds:
        return tuple(found)
    same_study = select(Series).where(
        Series.study_instance_uid == series.study_instance_uid,
        Series.id != series.id,
        Series.state != SeriesState.REMOVED,
    )
    for other in session.scalars(same_study):
        kept = kept_instances(session, other.id) if route_for(other, config.routes) == route else ()
        if any(map(is_axial, kept)):
            found.append(candidate(other, kept, silence_of(session, other, kept, clock)))
    return tuple(found)


def candidate(series: Series, instances: Sequence[Instance], silence_seconds: float) -> Candidate:
    thickness = instances[0].facts.get("thickness") if instances else None
    return Candidate(series.id, series.description, thickness, silence_seconds)


def is_axial(instance: Instance) -> bool:
    return is_axial_image(instance.facts.get("image_type", ()))


def along_stack(instance: Instance) -> float | None:
    """Where a slice lies along the normal of its plane, in mm, or None where it does not say."""
    position, orientation = instance.facts.get("position"), instance.facts.get("orientation")
    if position is None or orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    along = float(np.dot(normal, position))
    return along if np.isfinite(along) else None


def is_overtaken(job: Job, newest: int) -> bool:
    if job.shadow:
        return job.state in UNFINISHED and job.last_instance_id < newest
    return job.state in UNDELIVERED and job.state is not JobState.HELD and job.last_instance_id < newest
