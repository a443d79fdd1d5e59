"""Who is let in, and what is answered to who is not."""

import html
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import FastAPI, Form, Request
from starlette.testclient import TestClient

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.web.people import tokens
from rtseg_daemon.web.people.accounts import remove_account
from rtseg_daemon.web.people.guard import Admin, Operator, Physicist, Viewer, csrf_of, kept_of
from rtseg_daemon.web.place import Place
from tests.dashboard import PASSWORD, browser, logged_in, make_account, make_place, program, wait


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def with_pages(client: TestClient) -> TestClient:
    """The same client, with a page for each role and a form."""
    app = client.app
    assert isinstance(app, FastAPI)

    @app.get("/for/viewer")
    def for_viewer(person: Viewer) -> str:
        return person.name

    @app.get("/for/operator")
    def for_operator(person: Operator) -> str:
        return person.name

    @app.get("/for/physicist")
    def for_physicist(person: Physicist) -> str:
        return person.name

    @app.get("/for/admin")
    def for_admin(person: Admin) -> str:
        return person.name

    @app.post("/do")
    def do(person: Viewer, why: Annotated[str, Form()]) -> str:
        return why

    return client


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("page", Role)
def test_a_role_may_do_what_those_before_it_may(place: Place, role: Role, page: Role) -> None:
    allowed = list(Role).index(role) >= list(Role).index(page)
    for client in (logged_in(place, role), program(place, role)):
        assert with_pages(client).get(f"/for/{page}").status_code == (200 if allowed else 403)


def test_a_page_leads_a_stranger_to_the_login_and_back(place: Place) -> None:
    answer = with_pages(browser(place)).get("/for/viewer?a=1&b=2")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Ffor%2Fviewer%3Fa%3D1%26b%3D2"


def test_a_program_without_a_token_gets_401_and_no_redirect(place: Place) -> None:
    client = with_pages(browser(place))
    for headers in (
        {"accept": "application/json"},
        {"authorization": "Bearer rtseg_wrong"},
        {"authorization": "Basic YTpi"},
        {"authorization": ""},
    ):
        answer = client.get("/for/viewer", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_wrong_token_is_not_made_good_by_a_session(place: Place) -> None:
    client = with_pages(logged_in(place))
    assert client.get("/for/viewer", headers={"authorization": "Bearer rtseg_wrong"}).status_code == 401


def test_a_revoked_token_counts_no_more(place: Place) -> None:
    client = with_pages(program(place, name="robot"))
    assert client.get("/for/viewer").json() == "token:robot"
    with writing(place.engine) as session:
        tokens.revoke_token(session, "robot", "test", place.now())
    assert client.get("/for/viewer").status_code == 401


def test_a_form_needs_the_csrf_token_of_its_own_session(place: Place) -> None:
    client, other = with_pages(logged_in(place)), logged_in(place, name="other.one")
    token = client.headers.pop("x-csrf-token")
    assert client.post("/do", data={"why": "x"}).status_code == 403
    assert client.post("/do", data={"why": "x", "csrf": other.headers["x-csrf-token"]}).status_code == 403
    assert client.post("/do", data={"why": "x", "csrf": ""}).status_code == 403
    assert client.post("/do", data={"why": "x", "csrf": token}).json() == "x"
    assert client.post("/do", data={"why": "x"}, headers={"x-csrf-token": token}).json() == "x"


def test_a_program_needs_no_csrf_token(place: Place) -> None:
    assert with_pages(program(place)).post("/do", data={"why": "x"}).json() == "x"


def test_a_session_ends_when_it_is_idle(place: Place) -> None:
    client = with_pages(logged_in(place))
    wait(place, 29 * 60)
    assert client.get("/for/viewer").status_code == 200
    wait(place, 29 * 60)
    assert client.get("/for/viewer").status_code == 200
    wait(place, 31 * 60)
    assert client.get("/for/viewer").status_code == 303


def test_a_session_ends_after_its_hours_however_busy_it_is(place: Place) -> None:
    client = with_pages(logged_in(place))
    for _ in range(30):
        assert client.get("/for/viewer").status_code == 200
        wait(place, 24 * 60)
    assert client.get("/for/viewer").status_code == 303


def test_an_expired_session_in_mid_action_loses_nothing_and_does_nothing_twice(place: Place) -> None:
    client = with_pages(logged_in(place, name="ann"))
    app = client.app
    assert isinstance(app, FastAPI)
    done: list[str] = []

    @app.get("/forms/7")
    def case(person: Viewer, request: Request) -> dict[str, object]:
        return {"csrf": csrf_of(request), "kept": kept_of(request)}

    @app.post("/forms/7/release")
    def release(person: Viewer, why: Annotated[str, Form()]) -> None:
        done.append(why)

    wait(place, 3600)
    referer = {"referer": "http://127.0.0.1:8080/forms/7"}
    typed = 'checked on "both" sides <b>& it is right'
    asked = client.post("/forms/7/release", data={"why": typed, "csrf": "old"}, headers=referer)
    assert asked.status_code == 401
    assert 'name="next" value="/forms/7"' in asked.text
    assert "Nothing was done" in asked.text
    assert "<b>" not in asked.text
    assert done == []
    kept = html.unescape(asked.text.split('name="kept" value="')[1].split('"')[0])
    form = {"name": "ann", "password": PASSWORD, "next": "/forms/7", "kept": kept}
    back = client.post("/login", data=form)
    assert (back.status_code, back.headers["location"]) == (303, "/forms/7")
    assert client.get("/forms/7").json()["kept"] == {"why": typed}
    assert done == []


def test_a_session_of_a_removed_account_has_ended(place: Place) -> None:
    client = with_pages(logged_in(place, name="ann"))
    make_account(place, "root", Role.ADMIN)
    with writing(place.engine) as session:
        remove_account(session, "ann", "root", place.now())
    assert client.get("/for/viewer").status_code == 303
