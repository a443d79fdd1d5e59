"""Contours of candidates in the shadow, measured once: against those of their case, and against approved ones.

What is measured outlives the files, so that a comparison over months needs none of them.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from rtseg_daemon.ct.geometry import Geometry
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.feedback import known
from rtseg_daemon.feedback.compare import Ours, our_result
from rtseg_daemon.feedback.contours import Drawn, drawn_on
from rtseg_daemon.feedback.difference import difference
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.ledger.comparison_tables import MeasuredContours
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.rtstruct.reading import read_structures
from rtseg_daemon.storage import damage
from rtseg_daemon.stored import Stored, result, returned

RESULTS = (JobState.SEGMENTED, JobState.DELIVERING, JobState.DELIVERED, JobState.HELD)


@dataclass(frozen=True)
class Due:
    """One job's contours that are to be measured, against another job's or against a returned set's."""

    job_id: int
    other_job_id: int | None = None
    returned_set_id: int | None = None


@dataclass(frozen=True)
class Plan:
    """What measuring needs of the ledger.

    Args:
        file, other: of the structure sets.
        organs: which organs are measured: ROI number in a returned set, or None for another job's.
    """

    due: Due
    geometry: Geometry | None
    file: Stored
    other: Stored
    organs: Mapping[str, int | None]


def measure_one(desk: Desk) -> bool:
    """Measure what is due next. Returns False where nothing is."""
    with writing(desk.engine) as session:
        due = next_due(session)
        plan = planned(desk, session, due) if due is not None else None
    if plan is None:
        return False
    found, trouble = {}, ""
    try:
        found = dict(measured(desk, plan))
    except StructureSetError as error:
        trouble = str(error)
    with writing(desk.engine) as session:
        if is_due(session, plan.due):
            session.add(MeasuredContours(**vars(plan.due), organs=found, trouble=trouble, at=time.time()))
    return True


def measure_all(desk: Desk) -> int:
    """Measure everything that is due. Returns how many pairs that were."""
    count = 0
    while measure_one(desk):
        count += 1
    return count


def next_due(session: Session) -> Due | None:
    """The oldest pair that nobody has measured: candidates against their cases, then all against approved ones."""
    shadow, other = aliased(Job), aliased(Job)
    same = and_(
        shadow.shadow,
        other.id < shadow.id,
        other.series_id == shadow.series_id,
        other.last_instance_id == shadow.last_instance_id,
    )
    fit = and_(*has_result(shadow), *has_result(other), Series.releasable)
    query = (
        select(shadow.id, other.id)
        .join(other, same)
        .join(Series, Series.id == shadow.series_id)
        .where(fit, ~exists().where(MeasuredContours.job_id == shadow.id, MeasuredContours.other_job_id == other.id))
    )
    row = session.execute(query.order_by(shadow.id, other.id).limit(1)).first()
    if row is not None:
        return Due(row[0], other_job_id=row[1])
    return next_against_approved(session)


def next_against_approved(session: Session) -> Due | None:
    """The oldest job of a case with a candidate that was not measured against an approved set that counts."""
    job, shadow = aliased(Job), aliased(Job)
    counted = exists().where(ReturnedRoi.set_id == ReturnedSet.id, ReturnedRoi.counts)
    has_shadow = exists().where(
        shadow.shadow,
        shadow.series_id == job.series_id,
        shadow.last_instance_id == job.last_instance_id,
        *has_result(shadow),
    )
    known_already = exists().where(
        MeasuredContours.job_id == job.id, MeasuredContours.returned_set_id == ReturnedSet.id
    )
    query = (
        select(job.id, ReturnedSet.id)
        .join(Series, Series.id == job.series_id)
        .join(ReturnedSet, ReturnedSet.series_id == job.series_id)
        .where(*has_result(job), Series.releasable, has_shadow, counted, ~known_already)
        .order_by(job.id, ReturnedSet.id)
        .limit(1)
    )
    row = session.execute(query).first()
    return None if row is None else Due(row[0], returned_set_id=row[1])


def has_result(job: Any) -> tuple[Any, ...]:
    """Conditions on a job whose contours may be compared: not what a person ran once more to look at."""
    return job.state.in_(RESULTS), job.rtstruct_path.is_not(None), or_(job.shadow, ~job.no_send)


def is_due(session: Session, due: Due) -> bool:
    """Whether nobody has measured it meanwhile."""
    query = select(MeasuredContours.id).filter_by(**vars(due))
    return session.scalars(query.limit(1)).first() is None


def planned(desk: Desk, session: Session, due: Due) -> Plan:
    """Files, grid and organs of a pair. The grid is kept: a contour may be approved after the images are gone."""
    job = session.get_one(Job, due.job_id)
    known.keep_geometry(session, desk.files, job.series_id)
    session.flush()
    geometry = known.geometry_for(session, desk.files, job.series_id, job.last_instance_id, fetch=False)
    organs: dict[str, int | None]
    if due.other_job_id is not None:
        other = session.get_one(Job, due.other_job_id)
        organs = dict.fromkeys(sorted(contoured(job) & contoured(other)))
        file = result(other)
    else:
        answer = session.get_one(ReturnedSet, due.returned_set_id)
        rois = [roi for roi in answer.rois if roi.counts and roi.organ in contoured(job)]
        organs = {str(roi.organ): roi.number for roi in rois}
        file = returned(answer)
    return Plan(due, geometry, result(job), file, organs)


def contoured(job: Job) -> set[str]:
    """The organs that a job's bundles contour, found or not."""
    return {str(roi["name"]) for roi in job.rois}


def measured(desk: Desk, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """(organ, difference) of every organ that either has. Raises StructureSetError where a file is gone or altered."""
    ours = our_result(*desk.file(plan.file), plan.geometry)
    if plan.due.other_job_id is not None:
        theirs_of = our_result(*desk.file(plan.other), plan.geometry)
        others = {organ: theirs_of.organ(organ) for organ in plan.organs}
    else:
        others = dict(approved(desk, plan, ours.geometry))
    for organ, theirs in others.items():
        one = ours.organ(organ)
        if one is None and theirs is None:
            continue
        yield organ, figures(ours, organ, one, theirs)


def figures(ours: Ours, organ: str, one: Drawn | None, theirs: Drawn | None) -> dict[str, Any]:
    """What is measured of one organ. One that is missing on a side is there as missed."""
    masks = one.mask if one is not None else None, theirs.mask if theirs is not None else None
    contours = (one.slices, theirs.slices) if one is not None and theirs is not None else None
    return difference(*masks, ours.geometry.grid, organ, contours).shape()


def approved(desk: Desk, plan: Plan, geometry: Geometry) -> Iterator[tuple[str, Drawn]]:
    """The approved contours of a returned set that fit the CT, by organ."""
    path, sha256 = desk.file(plan.other)
    if problem := damage(path, sha256):
        raise StructureSetError(f"the structure set that came back {problem}; nothing can be measured against it")
    structures = {one.number: one for one in read_structures(path)}
    wanted: Collection[int] = [number for number in plan.organs.values() if number in structures]
    referring = any(structures[number].images & set(geometry.sop_instance_uids) for number in wanted)
    for organ, number in plan.organs.items():
        if number not in structures:
            continue
        drawn = drawn_on(geometry, structures[number], referring)
        if not drawn.misfit and drawn.mask.any():
            yield organ, drawn
