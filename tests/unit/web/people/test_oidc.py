"""Login by OpenID Connect, against a provider of the test's own on 127.0.0.1, and against one that cheats."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from sqlalchemy import select
from starlette.testclient import TestClient

from rtseg_daemon.errors import RtsegError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.people import WebSession
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.web.people.oidc import described
from rtseg_daemon.web.people.pending import Pending
from rtseg_daemon.web.place import Place
from tests.dashboard import browser, make_place

SECRET = "a secret that is long enough for HS256"
KEY = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
OTHER = RSAKey.generate_key(2048, {"kid": "one"}, private=True)


@dataclass
class Idp:
    """A provider. `claims` replace those of its next ID token, `sign` makes the token of them."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=lambda: {"alg": "RS256", "kid": "one"})
    key: Any = field(default_factory=lambda: KEY)
    nonces: dict[str, str] = field(default_factory=dict)
    challenges: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def login(self, address: str, code: str = "code-1") -> str:
        """What a person's browser does at the provider. Returns the state."""
        asked = parse_qs(urlsplit(address).query)
        self.nonces[code], self.challenges[code] = asked["nonce"][0], asked["code_challenge"][0]
        return asked["state"][0]

    def answer(self, path: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "keys"}
            return 200, {"issuer": self.issuer} | {key: f"{self.issuer}/{name}" for key, name in names.items()}
        if path == "/keys":
            return 200, {"keys": [KEY.as_dict(private=False)]}
        self.asked.append(form)
        code = form["code"][0]
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != self.challenges.pop(code, ""):
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": self.token(self.nonces[code])}

    def token(self, nonce: str) -> str:
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": "rtseg", "sub": "1", "iat": now, "exp": now + 60, "nonce": nonce}
        claims = usual | {"preferred_username": "Ann", "groups": ["staff", "physics"]} | self.claims
        claims = {key: value for key, value in claims.items() if value is not None}
        if self.header["alg"] == "none":
            parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (self.header, claims)]
            return b".".join([*parts, b""]).decode()
        return jwt.encode(self.header, claims, self.key, algorithms=[self.header["alg"]])


@pytest.fixture(scope="module")
def served() -> Iterator[Idp]:
    idp = Idp()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            self.reply(parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()))

        def reply(self, form: dict[str, list[str]]) -> None:
            status, document = idp.answer(self.path, form)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    idp.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield idp
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def idp(served: Idp) -> Idp:
    """The provider, honest again."""
    served.claims, served.header, served.key = {}, {"alg": "RS256", "kid": "one"}, KEY
    served.nonces.clear()
    served.challenges.clear()
    served.asked.clear()
    return served


@pytest.fixture
def place(tmp_path: Path, idp: Idp) -> Place:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    roles = {"physics": "physicist", "staff": "viewer"}
    oidc = {"issuer": idp.issuer, "client_id": "rtseg", "client_secret_file": "secret", "roles": roles}
    return make_place(tmp_path, oidc=oidc)


def begun(client: TestClient, idp: Idp, to: str = "/cases/7") -> dict[str, str]:
    """A browser that has been at the provider. Returns what it brings back."""
    answer = client.get("/login/oidc", params={"next": to})
    assert answer.status_code == 303
    return {"state": idp.login(answer.headers["location"]), "code": "code-1"}


def back(client: TestClient, brought: dict[str, str]) -> Any:
    return client.get("/login/oidc/back", params=brought)


def sessions_of(place: Place) -> list[tuple[str, str | None]]:
    with reading(place.engine) as session:
        return [(row.name, row.role) for row in session.scalars(select(WebSession))]


def test_a_login_gives_name_and_highest_role_and_leads_on(place: Place, idp: Idp) -> None:
    client = browser(place)
    answer = back(client, begun(client, idp))
    assert answer.status_code == 200
    assert 'content="0; url=/cases/7"' in answer.text
    cookies = answer.headers.get_list("set-cookie")
    assert any(one.startswith("rtseg=") and "samesite=strict" in one.lower() for one in cookies)
    assert sessions_of(place) == [("oidc:ann", "physicist")]
    (asked,) = idp.asked
    assert asked["redirect_uri"] == ["http://127.0.0.1:8080/login/oidc/back"]
    assert "client_secret" not in asked, "the secret goes in the header"


def test_a_local_account_of_the_same_name_is_another_person(place: Place, idp: Idp) -> None:
    client = browser(place)
    back(client, begun(client, idp))
    assert sessions_of(place)[0][0] == "oidc:ann"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": ["other", "third"]},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1000},
        {"exp": None},
        {"iat": None},
        {"iat": 99999999999},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"nbf": 99999999999},
        {"azp": "other", "aud": ["rtseg", "other"]},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_this_login_is_refused(place: Place, idp: Idp, claims: dict[str, Any]) -> None:
    idp.claims = claims
    client = browser(place)
    answer = back(client, begun(client, idp))
    assert answer.status_code == 403
    assert sessions_of(place) == []
    with reading(place.engine) as session:
        assert [event.what for event in session.scalars(select(Event))] == ["login failed"]


@pytest.mark.parametrize("how", ["none", "another key", "shared secret", "public key as secret", "cut"])
def test_a_token_that_the_provider_did_not_sign_is_refused(
    place: Place, idp: Idp, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "none":
        idp.header = {"alg": "none"}
    elif how == "another key":
        idp.key = OTHER
    elif how == "shared secret":
        idp.header, idp.key = {"alg": "HS256"}, OctKey.import_key(SECRET)
    elif how == "public key as secret":
        pem = KEY.as_pem(private=False)
        idp.header, idp.key = {"alg": "HS256", "kid": "one"}, OctKey.import_key(base64.b64encode(pem).decode())
    else:
        whole = idp.token("x")
        monkeypatch.setattr(Idp, "token", lambda _self, _nonce: whole[:-40])
    client = browser(place)
    assert back(client, begun(client, idp)).status_code == 403
    assert sessions_of(place) == []


def test_an_answer_is_taken_once(place: Place, idp: Idp) -> None:
    client = browser(place)
    brought = begun(client, idp)
    cookie = client.cookies["rtseg-login"]
    assert back(client, brought).status_code == 200
    client.cookies.set("rtseg-login", cookie)
    assert back(client, brought).status_code == 403
    assert len(idp.asked) == 1


def test_an_answer_is_taken_from_the_browser_that_began(place: Place, idp: Idp) -> None:
    """Else an attacker could have somebody log in as the attacker, or use a code that leaked."""
    client = browser(place)
    brought = begun(client, idp)
    client.cookies.clear()
    assert back(client, brought).status_code == 403
    client.cookies.set("rtseg-login", "guessed")
    assert back(client, brought).status_code == 403
    assert idp.asked == []


@pytest.mark.parametrize(
    "change",
    [
        {"state": "guessed"},
        {"state": ""},
        {"code": ""},
        {"code": "a" * 5000},
        {"error": "access_denied"},
        {"iss": "https://evil"},
    ],
    ids=str,
)
def test_an_answer_that_was_not_asked_for_is_refused(place: Place, idp: Idp, change: dict[str, str]) -> None:
    client = browser(place)
    assert back(client, begun(client, idp) | change).status_code == 403
    assert idp.asked == []


def test_a_stolen_code_is_of_no_use_without_its_verifier(place: Place, idp: Idp) -> None:
    client = browser(place)
    brought = begun(client, idp)
    idp.challenges["code-1"] = "another"
    assert back(client, brought).status_code == 403


def test_somebody_without_a_group_that_counts_is_not_let_in(place: Place, idp: Idp) -> None:
    idp.claims = {"groups": ["visitors"]}
    client = browser(place)
    answer = back(client, begun(client, idp))
    assert answer.status_code == 403
    assert "none of your groups has a role here" in answer.text


@pytest.mark.parametrize("name", [None, 3, "", " ", "a" * 200, "a\nb", "a\x1b[1m"])
def test_a_name_that_is_none_is_not_let_in(place: Place, idp: Idp, name: Any) -> None:
    idp.claims = {"preferred_username": name}
    client = browser(place)
    assert back(client, begun(client, idp)).status_code == 403


def test_a_login_at_a_provider_leads_to_no_other_site(place: Place, idp: Idp) -> None:
    client = browser(place)
    assert 'content="0; url=/"' in back(client, begun(client, idp, "https://evil.example/")).text


def test_a_provider_that_is_away_is_told_and_local_accounts_go_on(tmp_path: Path) -> None:
    place = make_place(tmp_path, oidc={"issuer": "http://127.0.0.1:9", "client_id": "x", "roles": {"g": "viewer"}})
    client = browser(place)
    assert client.get("/login/oidc").status_code == 503
    assert client.get("/login").status_code == 200


def test_without_a_provider_there_is_no_such_page(tmp_path: Path) -> None:
    assert browser(make_place(tmp_path)).get("/login/oidc").status_code == 404


RIGHT = {
    "issuer": "https://i",
    "authorization_endpoint": "https://i/a",
    "token_endpoint": "https://i/t",
    "jwks_uri": "https://i/k",
}


def test_a_description_of_the_right_provider_is_believed() -> None:
    assert described(RIGHT, "https://i") == RIGHT


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        RIGHT | {"issuer": "https://evil.example"},
        RIGHT | {"authorization_endpoint": "http://i/a"},
        RIGHT | {"token_endpoint": "file:///etc/passwd"},
        {key: value for key, value in RIGHT.items() if key != "jwks_uri"},
    ],
)
def test_a_description_that_leads_astray_is_not_believed(document: Any) -> None:
    with pytest.raises(RtsegError, match="provider"):
        described(document, "https://i")


def test_a_login_that_was_begun_lasts_ten_minutes_and_many_do_not_fill_the_memory() -> None:
    clock = [0.0]
    pending = Pending(lambda: clock[0])
    state, secret, _ = pending.begin("/")
    clock[0] = 601
    assert pending.take(state, secret) is None
    for _ in range(1500):
        pending.begin("/")
    assert len(pending.begun) == 1000
