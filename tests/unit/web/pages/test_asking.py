"""Actions on the pages: each asks once, by role, and the second of two people is told who was first."""

import re

import pytest
from starlette.testclient import TestClient

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.schema import Alarm, Delivery, Job
from rtseg_daemon.web.place import Place
from tests.dashboard import logged_in
from tests.tiny import make_bundle

HELD = 5
"""Made HELD by the fixture, before it had a structure set."""


@pytest.fixture
def held(own: Place) -> Place:
    with writing(own.engine) as session:
        job = session.get_one(Job, HELD)
        job.state, job.rtstruct_path, job.flags, job.rois, job.route = "QUEUED", None, {}, [], "all"
        session.flush()
        jobs.hold(session, HELD, "feet first")
    return own


def form_of(client: TestClient, path: str) -> dict[str, str]:
    """The hidden fields of the question, as a browser without a script sends them back."""
    page = client.get(path)
    assert page.status_code == 200
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text.split("data-ask-form")[1]))


def state(place: Place, job_id: int) -> str:
    with reading(place.engine) as session:
        return str(session.get_one(Job, job_id).state)


def test_a_release_asks_for_a_reason_and_is_in_the_events_with_the_name(held: Place) -> None:
    anna = logged_in(held, Role.PHYSICIST, "anna")
    path = f"/cases/{HELD}/release"
    form = form_of(anna, path)
    refused = anna.post(path, data=form | {"why": "  "})
    assert (refused.status_code, state(held, HELD)) == (422, "HELD")
    assert "Say why." in refused.text
    done = anna.post(path, data=form | {"why": "feet first on purpose"})
    assert (done.status_code, done.headers["location"]) == (303, f"/cases/{HELD}?done=release")
    assert state(held, HELD) == "QUEUED"
    with reading(held.engine) as session:
        event = next(one for one in events_of(session, "job", HELD) if one.what == "released")
    assert (event.who, event.detail["why"]) == ("anna", "feet first on purpose")
    assert "released" in anna.get(done.headers["location"]).text


def test_the_second_of_two_who_release_is_told_who_was_first(held: Place) -> None:
    anna, bernd = (logged_in(held, Role.PHYSICIST, name) for name in ("anna", "bernd"))
    path = f"/cases/{HELD}/release"
    forms = [form_of(one, path) for one in (anna, bernd)]
    assert anna.post(path, data=forms[0] | {"why": "checked"}).status_code == 303
    second = bernd.post(path, data=forms[1] | {"why": "looks right"})
    assert second.status_code == 409
    assert "anna was first" in second.text
    assert "data-ask-form" not in second.text
    with reading(held.engine) as session:
        assert [one.who for one in events_of(session, "job", HELD) if one.what == "released"] == ["anna"]


def test_a_form_that_is_sent_twice_does_it_once(own: Place) -> None:
    make_bundle(own.models)
    with writing(own.engine) as session:
        session.get_one(Job, 9).route = "all"
    anna = logged_in(own, Role.OPERATOR, "anna")
    form = form_of(anna, "/cases/9/rerun") | {"bundle": "tiny", "no_send": "true"}
    first, second = (anna.post("/cases/9/rerun", data=form) for _ in range(2))
    assert (first.status_code, first.headers["location"]) == (303, "/cases/13?done=rerun")
    assert second.status_code == 409
    assert "anna ran job 9 again as job 13" in second.text
    with reading(own.engine) as session:
        assert session.query(Job).filter(Job.id > 12).count() == 1


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.OPERATOR, 403), (Role.PHYSICIST, 303)])
def test_who_may_release(held: Place, role: Role, status: int) -> None:
    somebody = logged_in(held, role)
    answer = somebody.post(f"/cases/{HELD}/release", data={"why": "checked"})
    assert answer.status_code == status
    assert state(held, HELD) == ("QUEUED" if status == 303 else "HELD")


def test_an_action_without_the_sessions_token_is_refused(held: Place) -> None:
    anna = logged_in(held, Role.PHYSICIST, "anna")
    del anna.headers["x-csrf-token"]
    assert anna.post(f"/cases/{HELD}/cancel", data={"why": ""}).status_code == 403
    assert state(held, HELD) == "HELD"


def test_what_was_typed_comes_back_after_a_session_that_ended_in_mid_action(held: Place) -> None:
    anna = logged_in(held, Role.PHYSICIST, "anna")
    form = form_of(anna, f"/cases/{HELD}/release")
    anna.cookies.clear()
    host = str(anna.base_url.netloc, "ascii")
    answer = anna.post(
        f"/cases/{HELD}/release",
        data=form | {"why": "feet first on purpose"},
        headers={"referer": f"http://{host}/cases/{HELD}/release"},
    )
    assert (answer.status_code, state(held, HELD)) == (401, "HELD")
    assert "feet first on purpose" in answer.text


def test_a_delivery_is_sent_again_and_an_alarm_is_acknowledged_once(own: Place) -> None:
    with writing(own.engine) as session:
        delivery = session.query(Delivery).filter_by(state="SENT").first()
        assert delivery is not None
        delivery.state, delivery.job.state, delivery.job.route, delivery.destination = "FAILED", "FAILED", "all", "tps"
        number, job_id = delivery.id, delivery.job_id
    anna = logged_in(own, Role.OPERATOR, "anna")
    sent = anna.post(f"/deliveries/{number}/retry", data=form_of(anna, f"/deliveries/{number}/retry"))
    assert (sent.status_code, sent.headers["location"]) == (303, f"/cases/{job_id}?done=retry")
    assert state(own, job_id) == "DELIVERING"
    form = form_of(anna, "/alarms/1/acknowledge")
    assert anna.post("/alarms/1/acknowledge", data=form | {"why": "called"}).status_code == 303
    second = logged_in(own, Role.OPERATOR, "bernd").post("/alarms/1/acknowledge", data={"why": ""})
    assert second.status_code == 409
    assert "acknowledged by anna" in second.text
    with reading(own.engine) as session:
        assert session.get_one(Alarm, 1).acknowledged_by == "anna"


def test_an_action_that_does_not_fit_the_state_says_why_and_changes_nothing(own: Place) -> None:
    anna = logged_in(own, Role.PHYSICIST, "anna")
    answer = anna.post("/cases/12/retry", data=form_of(anna, "/cases/12/retry"))
    assert answer.status_code == 409
    assert "job 12 is DELIVERED; only a FAILED job can be retried" in re.sub(r"</?bdi>", "", answer.text)


def test_a_rejected_result_leaves_the_worklist_once_it_is_reviewed(own: Place) -> None:
    with writing(own.engine) as session:
        job = session.get_one(Job, 12)
        job.flags = {"Larynx": "REJECT"}
    anna = logged_in(own, Role.OPERATOR, "anna")
    assert "/cases/12/review" in anna.get("/worklist").text
    assert anna.post("/cases/12/review", data=form_of(anna, "/cases/12/review") | {"why": "drawn"}).status_code == 303
    assert "/cases/12/review" not in anna.get("/worklist").text
