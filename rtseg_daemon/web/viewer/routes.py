"""What a viewer asks for: geometry, slices, contours, entropy maps, and pictures for a page without script."""

import gzip
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request
from starlette.responses import JSONResponse, Response

from rtseg_daemon.errors import NotShown
from rtseg_daemon.web.numbers import LARGEST
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.seen import seen
from rtseg_daemon.web.viewer.ahead import Ahead
from rtseg_daemon.web.viewer.cuts import MOST, PLANES, Plane
from rtseg_daemon.web.viewer.desk import Desk
from rtseg_daemon.web.viewer.picture import organ_picture
from rtseg_daemon.web.viewer.subject import Subject, other_results, subject_of

JobId = Annotated[int, Path(ge=1, le=LARGEST)]
AGAIN_SECONDS = "2"
_OPENING = threading.Lock()


@asynccontextmanager
async def open_for_viewing(app: FastAPI) -> AsyncIterator[None]:
    """A reader is warm before the first person looks, and what was unpacked ends with the application."""
    desk = opened(app)
    threading.Thread(target=desk.readers.warm, name="viewer-start", daemon=True).start()
    ahead = Ahead(desk)
    ahead.start()
    try:
        yield
    finally:
        ahead.close()
        desk.close()


router = APIRouter(lifespan=open_for_viewing)


def opened(app: FastAPI) -> Desk:
    """The application's desk."""
    with _OPENING:
        if not hasattr(app.state, "desk"):
            place: Place = app.state.place
            app.state.desk = Desk(place.engine, place.layout, place.config.storage.minimum_free_gb, files=place.files)
        desk: Desk = app.state.desk
        return desk


def desk_of(request: Request) -> Desk:
    """The desk of the application that is asked."""
    return opened(request.app)


def about_to_be_seen(request: Request, place: Place, job_id: int) -> None:
    """The page that shows a job's CT is on its way: its reading may begin. Never raises for what cannot be shown."""
    with suppress(NotShown):
        opened(request.app).prepare(subject_of(place.engine, place.files, job_id))


@contextmanager
def told() -> Iterator[None]:
    """What cannot be shown is answered by its status and its sentence."""
    try:
        yield
    except NotShown as error:
        again = {"retry-after": AGAIN_SECONDS} if error.status == 503 else None
        raise HTTPException(error.status, str(error), again) from error


def looked_at(job_id: JobId, place: Here, person: Viewer) -> Subject:
    """The job that a person looks at, which the audit trail tells."""
    with told():
        subject = subject_of(place.engine, place.files, job_id)
    seen(place, person, job_id)
    return subject


Looked = Annotated[Subject, Depends(looked_at)]
DeskHere = Annotated[Desk, Depends(desk_of)]


@router.get("/cases/{job_id}/volume")
def volume(subject: Looked, desk: DeskHere) -> JSONResponse:
    """Where the CT's voxels lie, and what there is to see on it."""
    with told():
        geometry, tag = desk.geometry(subject)
        maps = [name for name, _ in subject.maps]
    return JSONResponse(
        {
            "job": subject.job_id,
            "series": subject.series_id,
            "bundle": subject.bundle,
            "shape": geometry.shape,
            "spacing_mm": geometry.spacing_mm,
            "origin_mm": geometry.origin_mm,
            "z_mm": geometry.z_mm,
            "planes": {plane: geometry.picture(plane) for plane in PLANES},
            "most": MOST,
            "tag": tag,
            "contours": subject.rtstruct is not None,
            "entropy": maps,
            "others": other_results(desk.engine, subject),
        }
    )


@router.get("/cases/{job_id}/ahead", status_code=204)
def ahead(job_id: JobId, place: Here, _person: Viewer, request: Request) -> None:
    """A person's pointer is on the way to this case: its reading may begin. Nothing of the patient is told."""
    about_to_be_seen(request, place, job_id)


@router.get("/cases/{job_id}/slices/{plane}/{number}")
def slices(
    subject: Looked,
    desk: DeskHere,
    request: Request,
    plane: Plane,
    number: Annotated[int, Path(le=LARGEST, ge=-LARGEST)],
    count: Annotated[int, Query(ge=1, le=MOST)] = 1,
) -> Response:
    """HU as little endian int16, slice after slice. Numbers count from 1, at the inferior, anterior or right end."""
    with told():
        cuts = desk.cuts(subject, plane, number, count)
    headers = {"x-first": str(cuts.first), "x-count": str(cuts.count), "x-rows": str(cuts.rows)}
    return tagged(request, cuts.body, cuts.tag, headers | {"x-columns": str(cuts.columns)})


@router.get("/cases/{job_id}/contours")
def contours(subject: Looked, desk: DeskHere, request: Request) -> Response:
    """Every ROI of the structure set that is delivered, with the points of its contours in patient mm."""
    with told():
        body = desk.contours(subject)
    digest = subject.rtstruct.sha256[:32] if subject.rtstruct else ""
    return packed(request, body, digest, "application/json", {})


@router.get("/cases/{job_id}/entropy/{index}")
def entropy(
    subject: Looked, desk: DeskHere, request: Request, index: Annotated[int, Path(ge=0, le=LARGEST)]
) -> Response:
    """A map of where the members disagree: bytes `(z, y, x)` on its own grid, which `x-geometry` tells."""
    with told():
        body, geometry = desk.entropy(subject, index)
    tag = f"{subject.job_id}-{index}-{len(body)}"
    return packed(request, body, tag, "application/octet-stream", {"x-geometry": json.dumps(geometry)})


@router.get("/cases/{job_id}/organ.png")
def picture(subject: Looked, desk: DeskHere, name: Annotated[str, Query(max_length=64)]) -> Response:
    """The worst slice of one organ with all contours, for a page without script."""
    with told():
        rois: list[dict[str, Any]] = json.loads(gzip.decompress(desk.contours(subject)))["rois"]
        geometry, _ = desk.geometry(subject)
        body = organ_picture(rois, name, geometry, lambda k: desk.cuts(subject, "axial", k + 1, 1).body)
    return Response(body, media_type="image/png")


def tagged(request: Request, body: bytes, tag: str, headers: dict[str, str]) -> Response:
    """The body with its tag, or 304 for who has it. No cache of a browser's own keeps it: it is a patient's."""
    headers = headers | {"etag": f'"{tag}"', "cache-control": "no-store"}
    if f'"{tag}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/octet-stream", headers=headers)


def packed(request: Request, body: bytes, tag: str, kind: str, headers: dict[str, str]) -> Response:
    """A compressed body for who understands it, and the same unpacked for others."""
    answer = tagged(request, body, tag, headers)
    if answer.status_code == 304:
        return answer
    if "gzip" not in request.headers.get("accept-encoding", ""):
        answer = tagged(request, gzip.decompress(body), tag, headers)
    else:
        answer.headers["content-encoding"] = "gzip"
    answer.headers["vary"] = "accept-encoding"
    answer.headers["content-type"] = kind
    return answer
