"""What the ledger knows that a returned set may be about: series, results of ours, what people said of names."""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ct.geometry import Geometry, geometry_of_files
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.feedback.answered import Result
from rtseg_daemon.feedback.pairing import Candidate
from rtseg_daemon.feedback.said import Said
from rtseg_daemon.ledger.feedback_tables import RoiName, SeriesGeometry
from rtseg_daemon.ledger.schema import Instance, Job, Series
from rtseg_daemon.ledger.series import kept_instances
from rtseg_daemon.ledger.states import ARRIVED, InstanceState, JobState
from rtseg_daemon.stored import Files, image

ASKED_AT_ONCE = 500
MOST_IMAGES = 20_000
"""Of the images that a set names, so many are looked for: a series has some thousand at most."""
OF_A_SERIES = (InstanceState.KEPT, InstanceState.REMOVED)


def candidates(session: Session, files: Files, said: Said) -> list[Candidate]:
    """Every series that the set names by an image, by its UID, or by its frame of reference."""
    numbers = series_of_images(session, said.drawn.keys() | said.listed)
    named = select(Series.id).where(Series.series_instance_uid.in_(list(said.series)[:ASKED_AT_ONCE]))
    numbers |= set(session.scalars(named))
    if not numbers:
        near = Series.study_instance_uid == said.study_uid
        if said.patient_id:  # many series may have none
            near = near | (Series.patient_id == said.patient_id)
        numbers = set(session.scalars(select(Series.id).where(near)))
    return [candidate(session, files, session.get_one(Series, number)) for number in sorted(numbers)]


def series_of_images(session: Session, uids: Collection[str]) -> set[int]:
    """The series that these SOP Instance UIDs belong to, or belonged to."""
    numbers: set[int] = set()
    for some in batches(uids, MOST_IMAGES):
        for state in OF_A_SERIES:  # each has its index
            query = select(Instance.series_id).where(Instance.sop_instance_uid.in_(some), Instance.state == state)
            numbers |= set(session.scalars(query.distinct()))
    return numbers


def batches(uids: Collection[str], most: int) -> Iterator[list[str]]:
    found = islice(uids, most)
    while some := list(islice(found, ASKED_AT_ONCE)):
        yield some


def candidate(session: Session, files: Files, series: Series) -> Candidate:
    """One series as far as pairing asks."""
    geometry = geometry_for(session, files, series.id)
    images = select(Instance.sop_instance_uid).where(Instance.series_id == series.id, Instance.state.in_(OF_A_SERIES))
    contoured = select(Job.id).where(Job.series_id == series.id, Job.rtstruct_path.is_not(None), ~Job.shadow).limit(1)
    return Candidate(
        series_id=series.id,
        series_uid=series.series_instance_uid,
        study_uid=series.study_instance_uid,
        frame_uid=geometry.frame_uid if geometry else "",
        person=geometry.person if geometry else None,
        images=frozenset(session.scalars(images)),
        contoured=session.scalar(contoured) is not None,
    )


def geometry_for(
    session: Session, files: Files, series_id: int, last_instance_id: int | None = None, *, fetch: bool = True
) -> Geometry | None:
    """The geometry of a series, of the images of one job or the newest, from the ledger or else from its files.

    None where neither has it: it was contoured by an earlier version, and its images are removed. Files of other hosts
    are asked for with `fetch` alone, since no transaction that writes may wait for a host.
    """
    query = select(SeriesGeometry).where(SeriesGeometry.series_id == series_id)
    if last_instance_id is not None:
        query = query.where(SeriesGeometry.last_instance_id == last_instance_id)
    row = session.scalars(query.order_by(SeriesGeometry.last_instance_id.desc()).limit(1)).one_or_none()
    if row is not None:
        return Geometry.of_document(row.geometry)
    stored = [image(one) for one in kept_instances(session, series_id, up_to=last_instance_id)]
    if not fetch and not all(files.keeps(one.host) for one in stored):
        return None
    try:
        return geometry_of_files(files.at_hand(stored)) if stored else None
    except SeriesError:
        return None


def keep_geometry(session: Session, files: Files, series_id: int) -> None:
    """Enter the geometry that each result of a series was made on, where only its files have it: they will go."""
    jobs = select(Job.last_instance_id).where(Job.series_id == series_id, Job.rtstruct_path.is_not(None)).distinct()
    for last in session.scalars(jobs).all():
        if session.get(SeriesGeometry, (series_id, last)) is None:
            found = geometry_for(session, files, series_id, last, fetch=False)
            if found is not None:
                session.add(SeriesGeometry(series_id=series_id, last_instance_id=last, geometry=found.document()))


def results(session: Session, series_id: int) -> list[Result]:
    """Our results for a series, finished or not. What a candidate bundle made in the shadow is none."""
    query = select(Job).where(Job.series_id == series_id, ~Job.shadow).order_by(Job.id)
    return [result(job) for job in session.scalars(query)]


def result(job: Job) -> Result:
    sent = [one.sent_at for one in job.deliveries if one.state in ARRIVED and one.sent_at is not None]
    for_nobody = job.state is JobState.SEGMENTED and not job.deliveries
    return Result(
        job_id=job.id,
        bundle=job.bundle,
        organs=frozenset(str(roi["name"]) for roi in job.rois if roi.get("volume_ml", 0.0) > 0.0),
        sent_at=min(sent) if sent and job.rtstruct_path else None,
        ended=job.state is JobState.CANCELLED or for_nobody,
        destinations=tuple(one.destination for one in job.deliveries),
    )


def people_say(session: Session, keys: Sequence[str]) -> dict[str, str | None]:
    """What people said these names mean, by their key."""
    found: dict[str, str | None] = {}
    for some in batches(keys, len(keys)):
        found |= {row.key: row.organ for row in session.scalars(select(RoiName).where(RoiName.key.in_(some)))}
    return found
