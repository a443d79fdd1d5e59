"""Every action asks once: a page with a form, which the browser's script shows as a dialog where it can."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from rtseg_daemon.bundles import bundle_names
from rtseg_daemon.errors import RtsegError, StateError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.events import person as named
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.ledger.schema import Alarm, Delivery
from rtseg_daemon.ledger.views import find_job
from rtseg_daemon.upkeep import deciding
from rtseg_daemon.web.numbers import LARGEST, Row
from rtseg_daemon.web.pages.offers import ACKNOWLEDGE, OF_JOBS, RERUN, SEND_AGAIN, Action
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.people.guard import Operator, Person
from rtseg_daemon.web.people.refusals import Forbidden
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.trouble import status_of

router = APIRouter(include_in_schema=False)
LONGEST_REASON = 1000


class Answer:
    """What came back with the form."""

    def __init__(
        self,
        why: Annotated[str, Form(max_length=LONGEST_REASON)] = "",
        as_of: Annotated[int | None, Form(ge=0, le=LARGEST)] = None,
        bundle: Annotated[str, Form(max_length=200)] = "",
        no_send: Annotated[bool, Form()] = False,
    ) -> None:
        self.why, self.as_of, self.bundle, self.no_send = why.strip(), as_of, bundle, no_send


Answered = Annotated[Answer, Depends()]
Do = Callable[[deciding.Desk, int, Answer], dict[str, Any]]

DO: dict[str, Do] = {
    "release": lambda desk, job, a: deciding.release(desk, job, a.why, as_of=a.as_of),
    "retry": lambda desk, job, a: deciding.retry(desk, job, a.why, as_of=a.as_of),
    "rerun": lambda desk, job, a: deciding.rerun(
        desk, job, a.why, bundle=a.bundle or None, no_send=a.no_send, as_of=a.as_of
    ),
    "cancel": lambda desk, job, a: deciding.cancel(desk, job, a.why, as_of=a.as_of),
    "review": lambda desk, job, a: deciding.review(desk, job, a.why, as_of=a.as_of),
}


def subject_of(place: Place, what: str, number: int) -> dict[str, Any]:
    """What a question is about. Raises StateError where it is not there (any more)."""
    with reading(place.engine) as session:
        facts: dict[str, Any] = {
            "hidden": {"as_of": newest_event(session)},
            "back_to": "the case",
            "subject": f"{what} {number}",
            "state": "",
            "reason": "",
        }
        if what == "alarm":
            alarm = session.get(Alarm, number)
            if alarm is None:
                raise StateError(f"there is no alarm {number}")
            return facts | {
                "reason": alarm.message,
                "back": "/",
                "back_to": "the first page",
                "patient_id": "",
                "bundle": "",
            }
        if what == "delivery":
            delivery = session.get(Delivery, number)
            if delivery is None:
                raise StateError(f"there is no delivery {number}")
            job, state, reason = delivery.job, str(delivery.state), delivery.last_comment
            facts["subject"] = f"job {job.id} to {delivery.destination}"
        else:
            job = find_job(session, number)
            state, reason = str(job.state), job.error
        return facts | {
            "state": state,
            "reason": reason or "",
            "back": f"/cases/{job.id}",
            "patient_id": job.series.patient_id,
            "bundle": job.bundle,
        }


def question(
    request: Request,
    person: Person,
    place: Place,
    about: tuple[str, int],
    action: Action,
    *,
    status: int = 200,
    fault: str = "",
    again: bool = True,
) -> HTMLResponse:
    """The page that asks. With a `fault` it says what was wrong, and with `again` it may be answered once more."""
    if not person.may(action.role):
        raise Forbidden(f"{action.title} needs the role {action.role}; you have {person.role}")
    values = subject_of(place, *about)
    bundles = bundle_names(place.models) if action is RERUN else []
    return page(
        request,
        person,
        "ask.html",
        status=status,
        action=action,
        fault=fault,
        again=again,
        bundles=bundles,
        post=request.url.path,
        **values,
    )


def answered(
    request: Request, person: Person, place: Place, about: tuple[str, int], action: Action, answer: Answer, do: Do
) -> Response:
    """Do it and go to the case, or say why it was not done."""
    if not person.may(action.role):
        raise Forbidden(f"{action.title} needs the role {action.role}; you have {person.role}")
    if action.why == "needed" and not answer.why:
        return question(request, person, place, about, action, status=422, fault="Say why.")
    try:
        shape = do(deciding.Desk(place.engine, place.config, named(person.name), place.files), about[1], answer)
    except RtsegError as error:
        if isinstance(error, StateError) and status_of(error) == 404:
            raise
        sentence = str(error)
        return question(request, person, place, about, action, status=status_of(error), fault=sentence, again=False)
    job = shape.get("job", shape["id"])
    to = "/" if about[0] == "alarm" else f"/cases/{job}?done={action.name}"
    return RedirectResponse(to, 303)


def add_routes(path: str, what: str, action: Action, do: Do) -> None:
    """The question and its answer under one path."""

    def ask(request: Request, person: Operator, place: Here, number: Row) -> HTMLResponse:
        return question(request, person, place, (what, number), action)

    def act(request: Request, person: Operator, place: Here, number: Row, answer: Answered) -> Response:
        return answered(request, person, place, (what, number), action, answer, do)

    router.add_api_route(path, ask, methods=["GET"], response_model=None)
    router.add_api_route(path, act, methods=["POST"], response_model=None)


for one in OF_JOBS.values():
    add_routes(f"/cases/{{number}}/{one.name}", "job", one, DO[one.name])
add_routes(
    "/deliveries/{number}/retry",
    "delivery",
    SEND_AGAIN,
    lambda desk, number, a: deciding.retry_delivery(desk, number, a.why, as_of=a.as_of),
)
add_routes(
    "/alarms/{number}/acknowledge",
    "alarm",
    ACKNOWLEDGE,
    lambda desk, number, a: deciding.acknowledge(desk, number, a.why),
)
