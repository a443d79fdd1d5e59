"""/api/v1: the shapes of the commands, the same actions, and nothing for who may not."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from rtseg_daemon.cli.alarms import app as alarms_app
from rtseg_daemon.cli.deliveries import app as deliveries_app
from rtseg_daemon.cli.jobs import app as jobs_app
from rtseg_daemon.cli.models import app as models_app
from rtseg_daemon.cli.series import app as series_app
from rtseg_daemon.cli.tokens import app as tokens_app
from rtseg_daemon.cli.users import app as users_app
from rtseg_daemon.config.web import Role
from rtseg_daemon.daemon import web
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of, raise_alarm
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.web.place import Place
from tests.dashboard import browser, logged_in, make_account, make_place, program, wait
from tests.unit.upkeep.test_housekeeping import stored_job, stored_series

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e" + "x" * 65536


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture
def job(place: Place) -> int:
    """A SEGMENTED job with a delivery, and an alarm."""
    number = stored_job(place.engine, place.layout, stored_series(place.engine, place.layout))
    with writing(place.engine) as session:
        raise_alarm(session, "disk", "disk:1", "the disk is nearly full")
    return number


def by_command(place: Place, app: Typer, *words: str) -> Any:
    config = place.layout.directory.parent / "config.yaml"
    return json.loads(CliRunner().invoke(app, [*words, "--json", "--config", str(config)]).stdout)


@pytest.mark.usefixtures("job")
def test_what_is_shown_is_what_the_commands_show(place: Place) -> None:
    client = program(place, Role.ADMIN)
    make_account(place, "ann", Role.PHYSICIST)
    same = {
        "series": (series_app, "list"),
        "series/1.3.1": (series_app, "show", "1.3.1"),
        "jobs": (jobs_app, "list"),
        "jobs/1": (jobs_app, "show", "1"),
        "deliveries": (deliveries_app, "list"),
        "bundles": (models_app, "list"),
        "users": (users_app, "list"),
        "alarms": (alarms_app, "list"),
    }
    for path, (app, *words) in same.items():
        assert client.get(f"/api/v1/{path}").json() == by_command(place, app, *words), path
    events = client.get("/api/v1/jobs/1/events").json()
    assert [event for event in events if event["what"] != "viewed"] == [
        event for event in by_command(place, jobs_app, "events", "1") if event["what"] != "viewed"
    ]


def test_tokens_are_shown_to_admins_alone_and_as_the_command_shows_them(place: Place) -> None:
    client = program(place, Role.ADMIN)
    client.get("/api/v1/tokens")  # from now on its own use is noted
    assert client.get("/api/v1/tokens").json() == by_command(place, tokens_app, "list")
    for path in ("tokens", "users"):
        assert program(place, Role.PHYSICIST).get(f"/api/v1/{path}").status_code == 403


def test_the_audit_is_searched_as_on_its_page(place: Place, job: int) -> None:
    ann, bob = program(place, Role.OPERATOR, "ann"), program(place, Role.VIEWER, "bob")
    ann.post(f"/api/v1/jobs/{job}/cancel", json={"why": "sent twice"})
    bob.get(f"/api/v1/jobs/{job}")

    def found(**asked: Any) -> list[tuple[str, str]]:
        return [(event["what"], event["who"]) for event in bob.get("/api/v1/audit", params=asked).json()]

    assert set(found(who="token:ann")) == {("cancelled", "token:ann")}
    assert found(what="viewed") == [("viewed", "token:bob")]
    assert found(job=job, people=True, limit=2) == [("viewed", "token:bob"), ("cancelled", "token:ann")]
    assert found(before="1960-01-01") == []
    assert {who for _, who in found()} >= {"daemon", "token:ann", "token:bob"}
    page = logged_in(place).get("/audit", params={"who": "token:ann"}).text
    assert "cancelled" in page


def test_a_delivery_is_sent_again_for_the_reason_given(place: Place, job: int) -> None:
    client = program(place, Role.OPERATOR, "robot")
    with reading(place.engine) as session:
        as_of = newest_event(session)
    answer = client.post("/api/v1/deliveries/1/retry", json={"why": "the system is back", "as_of": as_of})
    assert answer.json()["state"] == "WAITING"
    with reading(place.engine) as session:
        last = events_of(session, "delivery", 1)[-1]
    assert (last.what, last.who, last.detail["why"]) == ("retried", "token:robot", "the system is back")
    assert client.post("/api/v1/deliveries/1/retry").status_code == 200, "the body may be left out"
    second = program(place, Role.OPERATOR, "second").post("/api/v1/deliveries/1/retry", json={"as_of": as_of})
    assert (second.status_code, "token:robot was first" in second.json()["error"]) == (409, True)


def test_a_result_is_marked_as_reviewed(place: Place, job: int) -> None:
    client = program(place, Role.OPERATOR, "robot")
    assert client.post(f"/api/v1/jobs/{job}/review", json={"why": "drawn by hand"}).json()["id"] == job
    with reading(place.engine) as session:
        last = events_of(session, "job", job)[-1]
    assert (last.what, last.who, last.detail["why"]) == ("reviewed", "token:robot", "drawn by hand")


def test_limits_are_made_anew_by_a_physicist_and_for_a_reason(place: Place, job: int) -> None:
    with writing(place.engine) as session:
        session.get_one(Job, job).rois = [{"name": "Larynx", "flag": "OK", "volume_ml": 14.0}]
        session.get_one(Job, job).bundle_digest = "d"
    asked = {"bundle": "tiny", "organ": "Larynx", "why": "new guideline"}
    client = program(place, Role.PHYSICIST, "robot")
    assert client.post("/api/v1/quality/anew", json=asked).json()["who"] == "token:robot"
    assert client.post("/api/v1/quality/anew", json=asked | {"why": " "}).status_code == 422
    assert client.post("/api/v1/quality/anew", json=asked | {"organ": "Nose"}).status_code == 409
    assert program(place, Role.OPERATOR).post("/api/v1/quality/anew", json=asked).status_code == 403
    assert {"charts", "coverage", "switches"} <= client.get("/api/v1/quality").json().keys()


@pytest.mark.parametrize("name", ["\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 30, "1.2%0a", "%00"])
def test_what_is_no_series_is_404(place: Place, job: int, name: str) -> None:
    answer = program(place).get(f"/api/v1/series/{name}")
    assert (answer.status_code, set(answer.json())) == (404, {"error"})


def test_json_that_breaks_off_is_told_of_the_body(place: Place, job: int) -> None:
    client = program(place, Role.OPERATOR)
    answer = client.post(f"/api/v1/jobs/{job}/cancel", content='{"why":', headers={"content-type": "application/json"})
    assert answer.json()["error"].startswith("body: ")


def test_pages_of_jobs_follow_each_other(place: Place) -> None:
    series = stored_series(place.engine, place.layout)
    with writing(place.engine) as session:
        for run in range(1, 6):
            jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all", run=run)
    client, found = program(place), []
    older: dict[str, int] = {}
    while page := client.get("/api/v1/jobs", params={"limit": 2} | older).json():
        found += [shape["id"] for shape in page]
        older = {"older": found[-1]}
    assert found == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    "path",
    [
        *("status", "series", "series/1", "jobs", "jobs/1", "jobs/1/events", "deliveries", "alarms", "audit"),
        *("bundles", "bundles/tiny", "users", "tokens"),
    ],
)
def test_nothing_is_shown_without_a_token(place: Place, job: int, path: str) -> None:
    answer = browser(place).get(f"/api/v1/{path}")
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("action", "least"),
    [
        ("jobs/1/rerun", Role.OPERATOR),
        ("jobs/1/retry", Role.OPERATOR),
        ("jobs/1/cancel", Role.OPERATOR),
        ("jobs/1/release", Role.PHYSICIST),
        ("jobs/1/review", Role.OPERATOR),
        ("deliveries/1/retry", Role.OPERATOR),
        ("bundles/tiny/rollback", Role.PHYSICIST),
        ("alarms/1/ack", Role.OPERATOR),
    ],
)
def test_an_action_needs_its_role(place: Place, job: int, action: str, least: Role) -> None:
    for role in Role:
        status = program(place, role).post(f"/api/v1/{action}", json={"why": ""}).status_code
        assert (status == 403) == (not role.includes(least)), role


def test_an_action_is_done_by_who_asks_and_for_the_reason_given(place: Place, job: int) -> None:
    client = program(place, Role.OPERATOR, "robot")
    answer = client.post(f"/api/v1/jobs/{job}/cancel", json={"why": "sent twice"})
    assert answer.json()["state"] == "CANCELLED"
    again = client.post(f"/api/v1/jobs/{job}/rerun", json={"why": "other settings", "no_send": True})
    assert again.status_code == 409, "the bundle is not installed here"
    with reading(place.engine) as session:
        last = events_of(session, "job", job)[-1]
    assert (last.what, last.who, last.detail["why"]) == ("cancelled", "token:robot", "sent twice")


def test_an_alarm_is_acknowledged_once(place: Place, job: int) -> None:
    client = program(place, Role.OPERATOR, "robot")
    assert client.post("/api/v1/alarms/1/ack", json={"why": "more disks"}).json()["acknowledged_by"] == "token:robot"
    second = client.post("/api/v1/alarms/1/ack", json={})
    assert second.status_code == 409
    assert "token:robot" in second.json()["error"]


def test_a_release_needs_a_reason(place: Place, job: int) -> None:
    client = program(place, Role.PHYSICIST)
    for why in ("", "   ", "\n"):
        assert client.post(f"/api/v1/jobs/{job}/release", json={"why": why}).status_code == 422


def test_the_second_of_two_is_told_who_was_first(place: Place, job: int) -> None:
    first, second = program(place, Role.OPERATOR, "one"), program(place, Role.OPERATOR, "two")
    with reading(place.engine) as session:
        as_of = newest_event(session)
    assert first.post(f"/api/v1/jobs/{job}/cancel", json={"why": "a", "as_of": as_of}).status_code == 200
    told = second.post(f"/api/v1/jobs/{job}/cancel", json={"why": "b", "as_of": as_of})
    assert told.status_code == 409
    assert "token:one was first" in told.json()["error"]


def test_a_job_that_is_not_there_is_404(place: Place) -> None:
    client = program(place, Role.ADMIN)
    assert client.get("/api/v1/jobs/99").status_code == 404
    assert client.post("/api/v1/jobs/99/cancel", json={"why": "x"}).status_code == 404


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", '{"why": 3}', '{"why": "a", "x": 1}', '{"why": "' + "a" * 3000 + '"}', "{", "\x00", "1e999"],
)
def test_a_body_that_is_none_is_422(place: Place, job: int, body: str) -> None:
    client = program(place, Role.OPERATOR)
    answer = client.post(f"/api/v1/jobs/{job}/cancel", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "error" in answer.json()


def test_half_a_character_is_422(place: Place, job: int) -> None:
    client = program(place, Role.OPERATOR)
    answer = client.post(
        f"/api/v1/jobs/{job}/cancel", content='{"why": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422


def test_a_browser_acts_through_rest_only_with_its_csrf_token(place: Place, job: int) -> None:
    client = logged_in(place, Role.OPERATOR)
    token = client.headers.pop("x-csrf-token")
    assert client.post(f"/api/v1/jobs/{job}/cancel", json={"why": "x"}).status_code == 403
    answer = client.post(f"/api/v1/jobs/{job}/cancel", json={"why": "x"}, headers={"x-csrf-token": token})
    assert answer.status_code == 200


def test_every_view_of_a_patient_is_an_event_once_in_ten_minutes(place: Place, job: int) -> None:
    ann, bob = program(place, name="ann"), program(place, name="bob")
    for client in (ann, ann, bob):
        client.get(f"/api/v1/jobs/{job}")
    wait(place, 601)
    ann.get(f"/api/v1/jobs/{job}/events")
    with reading(place.engine) as session:
        views = [event.who for event in events_of(session, "job", job) if event.what == "viewed"]
    assert views == ["token:ann", "token:bob", "token:ann"]


def test_names_that_strangers_wrote_come_back_as_they_are(place: Place, job: int) -> None:
    with writing(place.engine) as session:
        session.get_one(Series, 1).patient_id = HOSTILE
    answer = program(place).get(f"/api/v1/jobs/{job}")
    assert answer.json()["patient_id"] == HOSTILE
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_description_is_for_who_may_ask_and_names_everything(place: Place) -> None:
    assert browser(place).get("/api/v1/openapi.json").status_code == 401
    paths = set(program(place).get("/api/v1/openapi.json").json()["paths"])
    contract = {"status", "series", "jobs", "jobs/{number}", "deliveries", "bundles", "quality", "audit"}
    actions = {f"jobs/{{number}}/{action}" for action in ("rerun", "retry", "cancel", "release")}
    assert {f"/api/v1/{name}" for name in contract | actions} <= paths


def test_a_ledger_that_is_locked_is_told_and_nothing_is_changed(
    place: Place, job: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "PATIENCE_SECONDS", 0.05)
    impatient = Place(place.config, place.layout, web.opened(place.config), place.now)
    client = program(impatient, Role.OPERATOR)
    client.get("/api/v1/jobs")
    with writing(place.engine) as session:
        session.connection()
        answer = client.post(f"/api/v1/jobs/{job}/cancel", json={"why": "x"})
        assert client.get("/api/v1/jobs").status_code == 200, "reading goes on"
    assert answer.status_code == 503
    assert "nothing was changed" in answer.json()["error"]
    assert client.get(f"/api/v1/jobs/{job}").json()["state"] == "SEGMENTED"
