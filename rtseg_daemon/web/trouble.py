"""What is answered when something cannot be done: a page for people, one JSON object for programs."""

from http import HTTPStatus
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from rtseg_daemon.errors import LedgerError, PeopleError, RtsegError, StateError
from rtseg_daemon.ledger.loss import hindrance, loss
from rtseg_daemon.logs import log
from rtseg_daemon.web.people.login import login_page
from rtseg_daemon.web.people.refusals import Away, Forbidden, LoginNeeded
from rtseg_daemon.web.people.returning import kept_text, page_of_form, safe_path
from rtseg_daemon.web.place import place_of
from rtseg_daemon.web.plain import plain_page

API = "/api/"
NOT_THERE = "there is no "
"""How the ledger's own words begin for what it does not know."""


def answer_troubles(app: FastAPI) -> None:
    """Every error gets its status and a sentence."""
    app.add_exception_handler(LoginNeeded, login_needed)
    app.add_exception_handler(RtsegError, not_possible)
    app.add_exception_handler(SQLAlchemyError, ledger_trouble)
    app.add_exception_handler(RequestValidationError, not_understood)
    app.add_exception_handler(HTTPException, as_told)
    app.add_exception_handler(Exception, unforeseen)


def is_program(request: Request) -> bool:
    """Whether the answer is read by a program: under /api, by a token, or by a script of our own pages."""
    accepts = request.headers.get("accept", "")
    return (
        request.url.path.startswith(API)
        or "authorization" in request.headers
        or ("application/json" in accepts and "text/html" not in accepts)
    )


def told(request: Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """The sentence, as the one who asks can read it."""
    if is_program(request):
        return JSONResponse({"error": sentence}, status, headers)
    title = HTTPStatus(status).phrase
    page = plain_page("trouble.html", status, title=title, message=sentence[:1].upper() + sentence[1:])
    page.headers.update(headers or {})
    return page


def login_needed(request: Request, error: Exception) -> Response:
    """Programs get 401. A page leads to the login and back, a form to the login with what was typed."""
    assert isinstance(error, LoginNeeded)
    if is_program(request):
        return told(request, 401, str(error), {"www-authenticate": "Bearer"})
    if request.method in ("GET", "HEAD"):
        query = f"?{request.url.query}" if request.url.query else ""
        to = safe_path(request.url.path + query)
        return RedirectResponse(f"/login?{urlencode({'next': to})}", 303)
    to = page_of_form(request.headers.get("referer", ""), request.headers.get("host", ""))
    message = "Your session has ended. Nothing was done. Log in, and the page shows again what you typed."
    return login_page(place_of(request), message, 401, to, kept_text(error.fields))


def status_of(error: RtsegError) -> int:
    """The status of an error that was raised on purpose."""
    if isinstance(error, Forbidden):
        return 403
    if isinstance(error, StateError):
        return 404 if str(error).startswith(NOT_THERE) else 409
    if isinstance(error, PeopleError):
        return 422
    return 503 if isinstance(error, LedgerError | Away) else 409


def not_possible(request: Request, error: Exception) -> Response:
    assert isinstance(error, RtsegError)
    return told(request, status_of(error), str(error))


def ledger_trouble(request: Request, error: Exception) -> Response:
    """The ledger is busy, gone, or damaged. Nothing was changed."""
    assert isinstance(error, SQLAlchemyError)
    log().error("the dashboard cannot use the ledger", exc_info=error)
    sentence = f"the ledger cannot be used now, and nothing was changed: {loss(error) or hindrance(error)}"
    return told(request, 503, sentence, {"retry-after": "5"})


def not_understood(request: Request, error: Exception) -> Response:
    """Which field is wrong and why. What was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{field_of(one['loc'])}: {one['msg']}" for one in error.errors()]
    return told(request, 422, "; ".join(faults)[:1000])


def field_of(place: tuple[str | int, ...]) -> str:
    """The field that a fault is about. A number alone is where JSON breaks off, and no field's name."""
    names = [str(part) for part in place[1:]]
    return ".".join(names) if len(place) > 1 and isinstance(place[1], str) else "body"


def as_told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return told(request, error.status_code, str(error.detail), dict(error.headers or {}))


def unforeseen(request: Request, error: Exception) -> Response:
    """A mistake of ours. The log has the place, the answer nothing of it."""
    log().error("a page failed", method=request.method, exc_info=error)
    return told(request, 500, "this page failed; the log of the service says where")
