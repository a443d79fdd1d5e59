"""Who asks, and whether they may. Every page and answer names one of `Viewer`, `Operator`, `Physicist`, `Admin`.

A browser comes with its session's cookie, and what it changes must carry the session's CSRF token. A program comes with
a bearer token. Whoever has neither is asked to log in.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.logs import log
from rtseg_daemon.web.people import sessions, tokens
from rtseg_daemon.web.people.refusals import Forbidden, LoginNeeded
from rtseg_daemon.web.place import Here, Place

UNSAFE = frozenset(("POST", "PUT", "PATCH", "DELETE"))
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"


@dataclass(frozen=True)
class Person:
    """Who asks. A program's name is `token:` and the token's, one from a directory has `ldap:` or `oidc:` before it."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this person may do what `role` may."""
        return self.role.includes(role)


async def person_of(request: Request, place: Here) -> Person:
    """Who asks. Raises LoginNeeded where nobody is known, Forbidden for a form that is not one of ours."""
    given = request.headers.get("authorization")
    if given is not None:
        return await run_in_threadpool(program, place, given)
    known = await run_in_threadpool(known_session, place, request)
    if known is None:
        raise LoginNeeded(await form_of(request))
    if request.method in UNSAFE and not sessions.is_csrf(known, await csrf_given(request)):
        raise Forbidden("this form is not one that this session was given; open the page again and send it once more")
    request.state.known = known
    return Person(known.name, known.role)


def program(place: Place, given: str) -> Person:
    """The program behind `Authorization: Bearer TOKEN`. Raises LoginNeeded for any other header or token."""
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer":
        raise LoginNeeded(bearer=True)
    with reading(place.engine) as session:
        found = tokens.find_program(session, token.strip())
    if found is None:
        raise LoginNeeded(bearer=True)
    now = place.now()
    if found.used_at is None or not 0 <= now - found.used_at < tokens.USED_SECONDS:
        note(place, lambda session: tokens.note_use(session, found.name, now))
    return Person(f"token:{found.name}", found.role)


def known_session(place: Place, request: Request) -> sessions.Known | None:
    """The session behind the request's cookie, with its use remembered."""
    secret = request.cookies.get(sessions.cookie_name(place.config.web))
    if not secret:
        return None
    now = place.now()
    with reading(place.engine) as session:
        known = sessions.find(session, secret, place.config.web, now)
    if known is not None and not 0 <= now - known.seen_at < sessions.TOUCH_SECONDS:
        note(place, lambda session: sessions.touch(session, known, now))
    return known


def note(place: Place, what: Callable[..., None]) -> None:
    """Remember something small. Nobody is turned away because the ledger takes no writes at this moment."""
    try:
        with writing(place.engine) as session:
            what(session)
    except SQLAlchemyError as error:
        log().warning("the last use of a session or token was not noted", exc_info=error)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of the form that was sent, texts alone, empty where it was none."""
    if request.method not in UNSAFE or not request.headers.get("content-type", "").startswith(FORMS):
        return {}
    form = await request.form()
    return {key: value for key, value in form.items() if isinstance(value, str)}


async def csrf_given(request: Request) -> str:
    """The CSRF token that came with the request, empty where there is none."""
    header = request.headers.get(CSRF_HEADER)
    return header if header is not None else (await form_of(request)).get(CSRF_FIELD, "")


def csrf_of(request: Request) -> str:
    """The token that this session's forms must carry, empty for a program. For templates."""
    known = getattr(request.state, "known", None)
    return known.csrf if isinstance(known, sessions.Known) else ""


def kept_of(request: Request) -> dict[str, str]:
    """What was typed into a form of this page when the session before had ended, to be shown again. For templates."""
    known = getattr(request.state, "known", None)
    if not isinstance(known, sessions.Known) or known.kept.get("page") != request.url.path:
        return {}
    return {str(key): str(value) for key, value in known.kept.get("fields", {}).items()}


def at_least(role: Role) -> Callable[[Person], Awaitable[Person]]:
    """The dependency that lets in who has `role` or one that includes it. Raises Forbidden for others."""

    async def allowed(person: Annotated[Person, Depends(person_of)]) -> Person:
        if not person.may(role):
            raise Forbidden(f"this needs the role {role}; you have {person.role}")
        return person

    return allowed


Viewer = Annotated[Person, Depends(at_least(Role.VIEWER))]
Operator = Annotated[Person, Depends(at_least(Role.OPERATOR))]
Physicist = Annotated[Person, Depends(at_least(Role.PHYSICIST))]
Admin = Annotated[Person, Depends(at_least(Role.ADMIN))]

viewer, operator, physicist, admin = Viewer, Operator, Physicist, Admin
"""The same under the names that the pages use: `person: viewer`."""
