"""Back to the version of a bundle that served before: asked once, as every action, by a physicist."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from rtseg_daemon.bundles import bundle_names
from rtseg_daemon.config.web import Role
from rtseg_daemon.errors import BundleError, StateError
from rtseg_daemon.ledger.events import person as named
from rtseg_daemon.upkeep import deciding
from rtseg_daemon.versions import read_active
from rtseg_daemon.web.pages.asking import LONGEST_REASON
from rtseg_daemon.web.pages.offers import Action
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.people.guard import Person, Physicist
from rtseg_daemon.web.place import Here, Place

router = APIRouter(include_in_schema=False)

ROLL_BACK = Action(
    "rollback",
    "Go back",
    "The version that served before serves again from the next job on. Its files are compared with their digests. Your "
    "name and reason stand in the audit trail.",
    "the version before serves again",
    "needed",
    Role.PHYSICIST,
)


@router.get("/bundles/{name}/rollback")
def ask(request: Request, person: Physicist, place: Here, name: str) -> HTMLResponse:
    """The question. Raises StateError where the bundle is not installed."""
    return question(request, person, place, name)


@router.post("/bundles/{name}/rollback")
def act(
    request: Request,
    person: Physicist,
    place: Here,
    name: str,
    serving: Annotated[str, Form(max_length=200)],
    why: Annotated[str, Form(max_length=LONGEST_REASON)] = "",
) -> Response:
    """Do it and go to the bundle, or say why it was not done. `serving` is the version that the person saw serve."""
    now = serving_version(place, name)
    if not why.strip():
        return question(request, person, place, name, status=422, fault="Say why.")
    if now != serving:
        fault = f"{now} serves by now, no longer {serving}; nothing was changed"
        return question(request, person, place, name, status=409, fault=fault, again=False)
    try:
        deciding.roll_back(deciding.Desk(place.engine, place.config, named(person.name), place.files), name, why)
    except BundleError as error:
        return question(request, person, place, name, status=409, fault=str(error), again=False)
    return RedirectResponse(f"/bundles/{name}", 303)


def question(
    request: Request, person: Person, place: Place, name: str, *, status: int = 200, fault: str = "", again: bool = True
) -> HTMLResponse:
    now = serving_version(place, name)
    before = previous_version(place, name)
    return page(
        request,
        person,
        "ask.html",
        status=status,
        action=ROLL_BACK,
        fault=fault or ("" if before else f"no version of {name} served before the present one"),
        again=again and bool(before),
        bundles=[],
        post=f"/bundles/{name}/rollback",
        hidden={"serving": now},
        subject=f"{name} from {now} to {before}" if before else name,
        back=f"/bundles/{name}",
        back_to="the bundle",
        patient_id="",
        bundle="",
        state="",
        reason="",
    )


def serving_version(place: Place, name: str) -> str:
    """The version that was activated last, empty where none was. Raises StateError where there is no such bundle."""
    if name not in bundle_names(place.models):
        raise StateError(f"there is no bundle {name[:32]!r}; see /bundles")
    serving = read_active(place.models, name).serving
    return serving[-1].version if serving else ""


def previous_version(place: Place, name: str) -> str:
    """The version that served before, empty where none did."""
    serving = read_active(place.models, name).serving
    return serving[-2].version if len(serving) > 1 else ""
