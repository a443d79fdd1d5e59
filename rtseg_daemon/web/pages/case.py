"""Case: one job with all that is known of it, and what a person may do about it."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.ledger.history import job_history
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import InstanceState, JobState
from rtseg_daemon.ledger.views import JsonObject, event_shape, find_job, job_detail
from rtseg_daemon.upkeep.case_files import image_files, result_file
from rtseg_daemon.web.numbers import Row
from rtseg_daemon.web.pages.charts import dice_bar, stacked
from rtseg_daemon.web.pages.offers import OF_JOBS, may_send_again, offered
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.pages.returning import returned_of
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.seen import seen
from rtseg_daemon.web.viewer.routes import about_to_be_seen

router = APIRouter(include_in_schema=False)
GRAVITY = {"REJECT": 0, "REVIEW": 1, "OK": 2}
MOST_EVENTS = 300


@router.get("/cases/{job_id}")
def case(request: Request, person: Viewer, place: Here, job_id: Row, done: str = "") -> HTMLResponse:
    """The page. Raises StateError where there is no such job, also where it went while it was looked at."""
    with reading(place.engine) as session:
        values = facts(session, place, job_id)
    seen(place, person, job_id)
    if values["viewable"]:
        about_to_be_seen(request, place, job_id)
    return page(request, person, "case.html", done=OF_JOBS.get(done), now=place.now(), **values)


@router.get("/cases/{job_id}/files")
def files(request: Request, person: Viewer, place: Here, job_id: Row) -> HTMLResponse:
    """Every file of the case, read and compared with its digest."""
    with reading(place.engine) as session:
        job = find_job(session, job_id)
        patient, images = job.series.patient_id, images_of(session, job)
        result = result_file(place.files, job)
        found = image_files(place.files, [one for one in images if is_kept(one)], thorough=True)
    seen(place, person, job_id)
    removed = sum(one.state is InstanceState.REMOVED for one in images)
    listed = [*([result] if result else []), *found]
    return page(
        request,
        person,
        "files.html",
        job_id=job_id,
        patient_id=patient,
        files=listed,
        removed=removed,
        bad=[one for one in listed if one.problem],
    )


def facts(session: Session, place: Place, job_id: int) -> dict[str, Any]:
    """What the page shows of a job, as of one moment."""
    job = find_job(session, job_id)
    images = images_of(session, job)
    kept = [one for one in images if is_kept(one)]
    shape = job_detail(job, place.layout.shown)
    result = result_file(place.files, job)
    problems = [one for one in image_files(place.files, kept, thorough=False) if one.problem]
    return {
        "job": shape,
        "series": job.series,
        "organs": [organ_row(roi) for roi in worst_first(shape["rois"])],
        "stages": stacked(shape["seconds"]),
        "total_seconds": sum(shape["seconds"].values()),
        "running_since": job.started_at if job.state is JobState.RUNNING else None,
        "events": timeline(session, job),
        "result": result,
        "images": len(kept),
        "image_bytes": sum(one.size for one in kept),
        "removed": sum(one.state is InstanceState.REMOVED for one in images),
        "problems": [one for one in (*([result] if result else []), *problems) if one.problem],
        "viewable": bool(kept) and not problems,
        "siblings": siblings(session, job),
        "returned": returned_of(session, job.series_id),
        "send_again": {one.id for one in job.deliveries if may_send_again(one)},
        "offered": offered(job),
        "as_of": newest_event(session),
    }


def images_of(session: Session, job: Job) -> Sequence[Instance]:
    """The images that the job is about, also those that retention has removed."""
    query = select(Instance).where(
        Instance.series_id == job.series_id,
        Instance.id <= job.last_instance_id,
        Instance.state != InstanceState.QUARANTINED,
    )
    return session.scalars(query.order_by(Instance.id)).all()


def is_kept(image: Instance) -> bool:
    return image.state is InstanceState.KEPT


def worst_first(rois: Sequence[JsonObject]) -> list[JsonObject]:
    """REJECT before REVIEW before OK, otherwise as the structure set has them."""
    return sorted(rois, key=lambda roi: GRAVITY.get(str(roi.get("flag")), 0))


def organ_row(roi: JsonObject) -> JsonObject:
    """An organ with its bar."""
    return roi | {"bar": dice_bar(roi.get("predicted_dice"), roi.get("interval"))}


def timeline(session: Session, job: Job) -> list[JsonObject]:
    """What happened to the series, the job and its deliveries, in order of time, the last MOST_EVENTS."""
    of_series = [event_shape(event) | {"about": "series"} for event in events_of(session, "series", job.series_id)]
    of_job = [shape | {"about": shape["destination"] or "job"} for shape in job_history(session, job.id)]
    return sorted([*of_series, *of_job], key=lambda shape: str(shape["at"]))[-MOST_EVENTS:]


def siblings(session: Session, job: Job) -> list[JsonObject]:
    """The other jobs of the same series, newest first."""
    query = select(Job).where(Job.series_id == job.series_id, Job.id != job.id, ~Job.shadow)
    found = session.scalars(query.order_by(Job.id.desc()).limit(20))
    return [{"id": one.id, "state": str(one.state), "bundle": one.bundle, "run": one.run} for one in found]
