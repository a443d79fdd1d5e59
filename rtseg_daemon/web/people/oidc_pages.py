"""The pages /login/oidc and /login/oidc/back: to the provider, and back from it."""

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.web.people import entering
from rtseg_daemon.web.people.login import address_of, set_cookie
from rtseg_daemon.web.people.oidc import Provider
from rtseg_daemon.web.people.pending import LASTS_SECONDS, Begun, Pending
from rtseg_daemon.web.people.refusals import Forbidden
from rtseg_daemon.web.people.returning import safe_path
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.plain import plain_page

router = APIRouter(include_in_schema=False)

BACK = "/login/oidc/back"
LONGEST = 4096


def cookie_name(place: Place) -> str:
    return "__Host-rtseg-login" if place.config.web.secure else "rtseg-login"


def provider_of(request: Request, place: Place) -> tuple[Provider, Pending]:
    """The provider and the logins begun there, kept with the application. Raises HTTPException (404) without one."""
    oidc = place.config.web.oidc
    if oidc is None:
        raise HTTPException(404, "no provider of OpenID Connect is configured")
    app = request.app
    assert isinstance(app, FastAPI)
    if not hasattr(app.state, "oidc"):
        app.state.oidc = (Provider(oidc), Pending(place.now))
    provider, pending = app.state.oidc
    assert isinstance(provider, Provider)
    assert isinstance(pending, Pending)
    return provider, pending


def back_address(request: Request, place: Place) -> str:
    """Where the provider sends the browser back to. The host was checked to be one of ours."""
    scheme = "https" if place.config.web.secure else "http"
    return f"{scheme}://{request.headers['host']}{BACK}"


@router.get("/login/oidc")
async def go(request: Request, place: Here, next: str = "/") -> Response:
    """To the provider. The cookie is Lax, since the way back comes from another site."""
    provider, pending = provider_of(request, place)
    state, browser, login = pending.begin(safe_path(next))
    address = await run_in_threadpool(provider.start, back_address(request, place), state, login.nonce, login.verifier)
    answer = RedirectResponse(address, 303)
    answer.set_cookie(
        cookie_name(place),
        browser,
        int(LASTS_SECONDS),
        path="/",
        secure=place.config.web.secure,
        httponly=True,
        samesite="lax",
    )
    return answer


@router.get(BACK)
async def back(
    request: Request, place: Here, state: str = "", code: str = "", error: str = "", iss: str = ""
) -> Response:
    """Back from the provider. 403 for an answer that this browser did not ask for, or that comes a second time.

    A page leads on, not a redirect: browsers keep a strict cookie back in a redirect that began at another site.
    """
    provider, pending = provider_of(request, place)
    login = pending.take(state, request.cookies.get(cookie_name(place), ""))
    if login is None:
        raise Forbidden("this answer of the provider of logins was not asked for, or was used; begin the login again")
    if error or not 0 < len(code) <= LONGEST or iss not in ("", provider.oidc.issuer):
        raise Forbidden("the provider of logins did not let you in; begin the login again")
    secret = await run_in_threadpool(entered, place, provider, login, back_address(request, place), code, request)
    answer = plain_page("entered.html", to=login.to)
    set_cookie(answer, place, secret)
    answer.delete_cookie(cookie_name(place), path="/", secure=place.config.web.secure, httponly=True)
    return answer


def entered(place: Place, provider: Provider, login: Begun, back_to: str, code: str, request: Request) -> str:
    """The cookie's secret of a new session. A login that is refused is an event."""
    try:
        tokens = provider.exchange(back_to, code, login.verifier)
        name, role = provider.person(tokens, login.nonce)
    except Forbidden:
        with writing(place.engine) as session:
            now = place.now()
            entering.note_login(session, "login failed", entering.UNKNOWN, "oidc", address_of(request), now)
        raise
    return entering.start(place, entering.Found(name, role), "oidc", address_of(request), {})
