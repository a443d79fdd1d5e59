"""Bundles: which are installed, which routes use them, their cards, measured figures and golden cases."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from rtseg_daemon.bundles import bundle_names
from rtseg_daemon.errors import StateError
from rtseg_daemon.web.pages.known_bundles import card_of, known_bundle, known_bundles
from rtseg_daemon.web.pages.markdown import html_of
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here

router = APIRouter(include_in_schema=False)


@router.get("/bundles")
def bundles(request: Request, person: Viewer, place: Here) -> HTMLResponse:
    """All of them."""
    return page(request, person, "bundles.html", bundles=known_bundles(place.models, place.config), folder=place.models)


@router.get("/bundles/{name}")
def bundle(request: Request, person: Viewer, place: Here, name: str) -> HTMLResponse:
    """One of them. Raises StateError where it is not installed."""
    if name not in bundle_names(place.models):
        raise StateError(f"there is no bundle {name[:32]!r}; see /bundles")
    known = known_bundle(place.models, name, place.config)
    found = known.bundle
    organs = {organ.name for organ in found.classes} if found else set()
    figures = found.figures if found else {}
    measured = {name: row for name, row in figures.items() if name in organs}
    return page(
        request,
        person,
        "bundle.html",
        known=known,
        bundle=found,
        measured=measured,
        measures=list(dict.fromkeys(measure for row in measured.values() for measure in row)),
        together={name: row for name, row in figures.items() if name not in organs},
        card=html_of(card_of(found)) if found else "",
    )
