"""The page behind the one-time link. Looking at it changes nothing, so that a preview of a link uses nothing up."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rtseg_daemon.errors import PeopleError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.web.people import entering
from rtseg_daemon.web.people.first_start import is_link, make_first_admin
from rtseg_daemon.web.people.login import address_of, refuse_other_site, set_cookie
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.plain import plain_page

router = APIRouter(include_in_schema=False)

GONE = "This link works no more: it was used, it is too old, or the service was started again and printed another one."


def refuse() -> HTTPException:
    """One answer for wrong, used and old links."""
    return HTTPException(404, GONE)


@router.get("/first/{secret}")
def show(secret: str, place: Here) -> HTMLResponse:
    """The form for the first account."""
    with reading(place.engine) as session:
        if not is_link(session, secret, place.now()):
            raise refuse()
    return plain_page("first.html", message="", name="")


@router.post("/first/{secret}")
async def make(
    request: Request,
    secret: str,
    place: Here,
    name: Annotated[str, Form(max_length=256)],
    password: Annotated[str, Form(max_length=1024)],
    again: Annotated[str, Form(max_length=1024)],
) -> Response:
    """Make the first admin and log in. 404 for a link that works no more, 422 for a name or password that cannot be."""
    refuse_other_site(request)
    try:
        if password != again:
            raise PeopleError("the two passwords are not the same")
        cookie = await run_in_threadpool(made, place, secret, name, password, address_of(request))
    except PeopleError as error:
        return plain_page("first.html", 422, message=f"{error}", name=name)
    answer = RedirectResponse("/", 303)
    set_cookie(answer, place, cookie)
    return answer


def made(place: Place, secret: str, name: str, password: str, address: str) -> str:
    """The cookie's secret of the first admin's session."""
    with writing(place.engine) as session:
        if not is_link(session, secret, place.now()):
            raise refuse()
        account = make_first_admin(session, name, password, place.now()).name
    return entering.start(place, entering.Found(account), "one-time link", address, {})
