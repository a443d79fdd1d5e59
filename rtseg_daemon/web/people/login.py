"""The pages /login and /logout."""

import math
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from rtseg_daemon.web.people import entering, sessions
from rtseg_daemon.web.people.guard import person_of
from rtseg_daemon.web.people.refusals import Forbidden
from rtseg_daemon.web.people.returning import kept_form, safe_path
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.plain import plain_page

router = APIRouter(include_in_schema=False)

WRONG = "Name or password is wrong."


def login_page(place: Place, message: str = "", status: int = 200, to: str = "/", kept: str = "") -> HTMLResponse:
    """The form. `to` is where the person goes afterwards, `kept` what was typed there."""
    oidc = place.config.web.oidc
    provider = urlsplit(oidc.issuer).hostname if oidc else ""
    return plain_page("login.html", status, message=message, next=to, kept=kept, oidc=provider)


@router.get("/login")
async def ask(place: Here, next: str = "/") -> HTMLResponse:
    """The login form."""
    return login_page(place, to=safe_path(next))


@router.post("/login")
async def log_in(
    request: Request,
    place: Here,
    name: Annotated[str, Form(max_length=256)],
    password: Annotated[str, Form(max_length=1024)],
    next: Annotated[str, Form()] = "/",
    kept: Annotated[str, Form()] = "",
) -> Response:
    """Log in. 303 to the page that was asked for, 401 for a wrong name or password, 429 where it is too early."""
    refuse_other_site(request)
    to = safe_path(next)
    address = address_of(request)
    found = await run_in_threadpool(entering.enter, place, name, password, address, kept_form(kept, to))
    if found.wait_seconds > 0:
        minutes = math.ceil(found.wait_seconds / 60.0)
        message = f"Too many failures. Try again in {minutes} min."
        return login_page(place, message, 429, to, kept)
    if not found.secret:
        return login_page(place, WRONG, 401, to, kept)
    answer = RedirectResponse(to, 303)
    set_cookie(answer, place, found.secret)
    return answer


@router.post("/logout")
async def log_out(request: Request, place: Here) -> Response:
    """End the session."""
    await person_of(request, place)
    known = getattr(request.state, "known", None)
    if isinstance(known, sessions.Known):
        await run_in_threadpool(entering.leave, place, known, address_of(request))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(sessions.cookie_name(place.config.web), path="/", secure=place.config.web.secure)
    return answer


def refuse_other_site(request: Request) -> None:
    """Raise Forbidden for a form that a page of another site sends: it would log the person in as somebody else."""
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin", "null")
    own = origin == "null" or urlsplit(origin).netloc == request.headers.get("host")
    if site not in ("none", "same-origin") or not own:
        raise Forbidden("this form was sent by a page of another site; open the login page itself")


def address_of(request: Request) -> str:
    """Where a request came from, behind a reverse proxy whom it asks for."""
    return request.client.host if request.client else ""


def set_cookie(answer: Response, place: Place, secret: str) -> None:
    """The session's cookie: for this host alone, never for scripts, never with what another site asks for."""
    web = place.config.web
    answer.set_cookie(sessions.cookie_name(web), secret, path="/", secure=web.secure, httponly=True, samesite="strict")
