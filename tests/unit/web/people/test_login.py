"""Logging in by name and password, as a person does it and as an attacker tries to."""

import json
import re
from pathlib import Path

import pytest
from sqlalchemy import select

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.people import LoginFailure, WebSession
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.web.people import lockout, passwords, sessions
from rtseg_daemon.web.people.returning import kept_form, kept_text, page_of_form, safe_path
from rtseg_daemon.web.place import Place
from tests.dashboard import PASSWORD, browser, logged_in, make_account, make_place, wait


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def form(name: str = "ann", password: str = PASSWORD, **more: str) -> dict[str, str]:
    return {"name": name, "password": password} | more


def events(place: Place) -> list[Event]:
    with reading(place.engine) as session:
        return list(session.scalars(select(Event).order_by(Event.id)))


def test_the_cookie_is_for_this_host_and_no_script_and_no_other_site(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    make_account(place, "ann", Role.VIEWER)
    cookie = browser(place).post("/login", data=form()).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "domain" not in cookie
    assert "secure" not in cookie


def test_over_tls_the_cookie_is_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    tls = {"certificate": "c.pem", "key": "k.pem"}
    place = make_place(tmp_path, tls=tls, host="0.0.0.0", names=["rtseg.example"])
    make_account(place, "ann", Role.VIEWER)
    answer = browser(place).post("/login", data=form())
    assert answer.headers["set-cookie"].startswith("__Host-rtseg=")
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


def test_the_ledger_keeps_no_secret_of_a_session(place: Place) -> None:
    make_account(place, "ann", Role.VIEWER)
    client = browser(place)
    client.post("/login", data=form())
    secret = client.cookies["rtseg"]
    with reading(place.engine) as session:
        row = session.scalars(select(WebSession)).one()
        assert secret not in str(vars(row))


def test_each_login_has_a_session_of_its_own(place: Place) -> None:
    """A cookie that an attacker has planted before is never taken over."""
    make_account(place, "ann", Role.VIEWER)
    client = browser(place)
    client.cookies.set("rtseg", "planted")
    client.post("/login", data=form())
    with reading(place.engine) as session:
        assert sessions.find(session, "planted", place.config.web, place.now()) is None


def test_logging_out_ends_the_session_for_good(place: Place) -> None:
    client = logged_in(place, name="ann")
    secret = client.cookies["rtseg"]
    assert client.post("/logout").status_code == 303
    with reading(place.engine) as session:
        assert sessions.find(session, secret, place.config.web, place.now()) is None
    assert [event.what for event in events(place)] == ["logged out"]


def test_another_site_can_neither_log_a_person_out_nor_in(place: Place) -> None:
    client = logged_in(place, name="ann")
    del client.headers["x-csrf-token"]
    assert client.post("/logout").status_code == 403
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert client.post("/login", data=form(), headers=headers).status_code == 403


def test_wrong_name_and_wrong_password_get_the_same_answer(place: Place) -> None:
    make_account(place, "ann", Role.VIEWER)
    client = browser(place)
    wrong = client.post("/login", data=form(password="wrong password"))
    unknown = client.post("/login", data=form(name="bob", password="wrong password"))
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text == unknown.text


def test_an_unknown_name_costs_as_much_work_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Counting:
        def hash(self, password: str) -> str:
            return passwords.HASHER.hash(password)

        def verify(self, kept: str, password: str) -> bool:
            asked.append(re.sub(r"\$[^$]*\$[^$]*$", "", kept))
            return hasher.verify(kept, password)

    hasher = passwords.HASHER
    known = passwords.hash_of(PASSWORD)
    passwords.nobody()
    monkeypatch.setattr(passwords, "HASHER", Counting())
    assert not passwords.matches(None, "nobody has this password")
    assert not passwords.matches(known, "wrong")
    assert len(asked) == 2
    assert asked[0] == asked[1], "other parameters take another time"


def test_after_some_failures_a_name_must_wait_longer_and_longer(place: Place) -> None:
    make_account(place, "ann", Role.VIEWER)
    client = browser(place)
    for _ in range(5):
        assert client.post("/login", data=form(password="wrong password")).status_code == 401
    locked = client.post("/login", data=form())
    assert locked.status_code == 429
    assert "Try again in 1 min" in locked.text
    wait(place, 31)
    assert client.post("/login", data=form()).status_code == 303


def test_an_unknown_name_is_locked_like_a_known_one(place: Place) -> None:
    client = browser(place)
    found = [client.post("/login", data=form(name="nobody", password="wrong")).status_code for _ in range(6)]
    assert found == [401] * 5 + [429]


def test_guessing_many_names_from_one_address_is_stopped(place: Place) -> None:
    client = browser(place)
    found = [client.post("/login", data=form(name=f"n{i}", password="wrong")).status_code for i in range(21)]
    assert found == [401] * 20 + [429]


def test_one_good_login_does_not_forgive_its_address(place: Place) -> None:
    make_account(place, "ann", Role.VIEWER)
    client = browser(place)
    for i in range(19):
        client.post("/login", data=form(name=f"n{i}", password="wrong"))
    assert client.post("/login", data=form()).status_code == 303
    client.post("/login", data=form(name="n20", password="wrong"))
    assert client.post("/login", data=form(name="n21", password="wrong")).status_code == 429


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (4, 0), (5, 30), (6, 60), (9, 480), (10, 900), (10**6, 900)])
def test_a_lock_is_never_for_good(failures: int, seconds: float) -> None:
    """Else whoever knows a name could lock its owner out."""
    assert lockout.OF_A_NAME.wait_seconds(failures) == seconds


def test_a_clock_that_was_set_back_locks_nobody_out_for_long(place: Place) -> None:
    with writing(place.engine) as session:
        session.add(LoginFailure(key=lockout.keys("ann", "x")[0][0], count=6, last_at=place.now() + 1e9))
    with reading(place.engine) as session:
        assert lockout.seconds_to_wait(session, "ann", "x", place.now()) <= 60


def test_what_was_typed_as_a_name_is_kept_nowhere(place: Place) -> None:
    """People type their password where the name belongs."""
    browser(place).post("/login", data=form(name="my-secret-password", password="x"))
    told = events(place)
    assert [(event.what, event.who) for event in told] == [("login failed", "somebody unknown")]
    with reading(place.engine) as session:
        kept = [str(vars(row)) for row in session.scalars(select(LoginFailure))]
    assert not any("my-secret-password" in text for text in [*kept, *(str(vars(event)) for event in told)])


def test_logins_and_failures_are_events(place: Place) -> None:
    make_account(place, "ann", Role.VIEWER)
    client = browser(place)
    client.post("/login", data=form(password="wrong password"))
    client.post("/login", data=form())
    assert [(event.subject, event.what, event.who) for event in events(place)] == [
        ("login", "login failed", "ann"),
        ("login", "logged in", "ann"),
    ]


def test_passwords_and_names_of_any_size_and_kind_are_answered(place: Place) -> None:
    client = browser(place)
    for text in ("\0", "\x1b[31m", "\u202e", "<script>", "%00", "' OR 1=1 --", "*)(uid=*"):
        assert client.post("/login", data=form(name=text, password=text)).status_code in (401, 429)
    assert client.post("/login", data=form(name="a" * 65536)).status_code == 422
    assert client.post("/login", data=form(password="a" * 65536)).status_code == 422
    assert (
        client.post(
            "/login", content=b"\xff\xfe=&&&=", headers={"content-type": "application/x-www-form-urlencoded"}
        ).status_code
        == 422
    )


@pytest.mark.parametrize(
    "away",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "/\n//evil", "javascript:alert(1)", "evil", "", "/login", "/logout", "http:evil", "/" + "a" * 3000, "///evil",
    ],
)  # fmt: skip
def test_a_login_leads_to_no_other_site(place: Place, away: str) -> None:
    make_account(place, "ann", Role.VIEWER)
    assert browser(place).post("/login", data=form(next=away)).headers["location"] == "/"
    assert safe_path(away) == "/"


def test_a_login_leads_back_to_our_own_pages() -> None:
    assert safe_path("/cases/7?plane=axial&n=3") == "/cases/7?plane=axial&n=3"


@pytest.mark.parametrize(
    ("referer", "page"),
    [("http://us:1/cases/7?a=1", "/cases/7?a=1"), ("http://evil/cases/7", "/"), ("", "/"), ("http://us:1//evil", "/")],
)
def test_a_form_leads_back_to_the_page_that_it_was_on(referer: str, page: str) -> None:
    assert page_of_form(referer, "us:1") == page


@pytest.mark.parametrize("text", ["", "x", "[]", '{"a": 1}', "{" * 5000, '{"a": "' + "b" * 9000 + '"}', "{}"])
def test_what_a_browser_says_was_typed_may_be_anything(text: str) -> None:
    assert kept_form(text, "/cases/7") == {}


def test_no_password_and_no_token_is_kept_of_a_form() -> None:
    text = kept_text({"why": "x", "csrf": "secret", "password": "secret"})
    assert json.loads(text) == {"why": "x"}
    assert kept_form('{"why": "x", "csrf": "secret"}', "/a?b=1") == {"page": "/a", "fields": {"why": "x"}}
