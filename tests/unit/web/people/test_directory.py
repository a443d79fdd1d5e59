"""Login by a directory. ldap3's own mock plays it, with its filters, binds and passwords."""

import socket
import time
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPSocketOpenError
from sqlalchemy import select

from rtseg_daemon.config.web import Ldap, Role
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.people import WebSession
from rtseg_daemon.web.people import directory
from rtseg_daemon.web.people.refusals import Away, Forbidden
from rtseg_daemon.web.place import Place
from tests.dashboard import PASSWORD, browser, make_account, make_place

REAL_CONNECT = directory.connect
PHYSICS = "cn=Physics,ou=groups,dc=hospital"
PEOPLE = {
    "ann": {"memberOf": [PHYSICS, "cn=staff,ou=groups,dc=hospital"]},
    "bob": {"memberOf": ["cn=visitors,ou=groups,dc=hospital"]},
    "eve(x)*": {"memberOf": [PHYSICS]},
}


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection goes to a directory in memory."""

    def connect(_ldap: Ldap, user: str | None, password: str | None) -> Any:
        server = ldap3.Server("mock", get_info=ldap3.OFFLINE_SLAPD_2_4)
        connection = ldap3.Connection(server, user, password, client_strategy=ldap3.MOCK_SYNC)
        for name, more in PEOPLE.items():
            dn = f"cn=p{list(PEOPLE).index(name)},ou=people,dc=hospital"
            entry = {"uid": name, "userPassword": f"password of {name}", "objectClass": "person", "sn": "x"} | more
            connection.strategy.add_entry(dn, entry)
        service = {"userPassword": "service", "sn": "s", "objectClass": "person"}
        connection.strategy.add_entry("cn=rtseg,dc=hospital", service)
        return connection

    monkeypatch.setattr(directory, "connect", connect)


@pytest.fixture
def ldap(tmp_path: Path) -> Ldap:
    (tmp_path / "bind").write_text("service\n")
    return Ldap.model_validate(section() | {"bind_password_file": tmp_path / "bind"})


def section() -> dict[str, Any]:
    return {
        "url": "ldaps://d.example",
        "bind_dn": "cn=rtseg,dc=hospital",
        "bind_password_file": "bind",
        "search_base": "ou=people,dc=hospital",
        "roles": {"CN=physics, OU=groups, DC=hospital": "physicist", "cn=staff,ou=groups,dc=hospital": "viewer"},
    }


def test_name_and_password_give_the_highest_role(ldap: Ldap) -> None:
    assert directory.look_up(ldap, "ann", "password of ann") == ("ldap:ann", Role.PHYSICIST)


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong"), ("nobody", "x"), ("", "x"), (" ", "x")])
def test_a_wrong_name_or_password_is_nobody(ldap: Ldap, name: str, password: str) -> None:
    assert directory.look_up(ldap, name, password) is None


def test_an_empty_password_is_never_asked_for(ldap: Ldap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory says yes to a bind with a name and no password: it is for somebody who wants to stay unknown."""
    monkeypatch.setattr(directory, "connect", lambda *_arguments: pytest.fail("the directory was asked"))
    assert directory.look_up(ldap, "ann", "") is None


@pytest.mark.parametrize(
    "name", ["*", "a*", "ann)(uid=*", "*)(objectClass=*", "ann\x00", "\\2a", "ann)(|(uid=*", "(", "eve*", "a" * 500]
)
def test_what_a_filter_would_understand_is_escaped_in_a_name(ldap: Ldap, name: str) -> None:
    assert directory.look_up(ldap, name, "password of ann") is None


def test_a_name_with_such_characters_is_found_as_it_is(ldap: Ldap) -> None:
    assert directory.look_up(ldap, "eve(x)*", "password of eve(x)*") == ("ldap:eve(x)*", Role.PHYSICIST)


def test_a_filter_that_fits_several_people_is_nobody(ldap: Ldap) -> None:
    wide = ldap.model_copy(update={"filter": "(|(uid={name})(objectClass=person))"})
    assert directory.look_up(wide, "ann", "password of ann") is None


def test_somebody_without_a_group_that_counts_is_told_so(ldap: Ldap) -> None:
    with pytest.raises(Forbidden, match="none of your groups"):
        directory.look_up(ldap, "bob", "password of bob")


def test_a_directory_that_is_away_is_told(ldap: Ldap, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_arguments: object) -> None:
        raise LDAPSocketOpenError("refused")

    monkeypatch.setattr(directory, "connect", away)
    with pytest.raises(Away, match="cannot be asked now"):
        directory.look_up(ldap, "ann", "x")


@pytest.mark.parametrize("url", ["ldap://127.0.0.1:{port}", "ldaps://127.0.0.1:{port}"])
def test_a_directory_that_says_nothing_is_waited_for_as_long_as_configured(
    ldap: Ldap, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "connect", REAL_CONNECT)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silently = Ldap.model_validate(
            ldap.model_dump() | {"url": url.format(port=silent.getsockname()[1]), "seconds": 0.5}
        )
        began = time.monotonic()
        with pytest.raises(Away, match="cannot be asked now"):
            directory.look_up(silently, "ann", "x")
    assert time.monotonic() - began < 5


def test_a_password_that_none_can_be_is_a_wrong_one(ldap: Ldap) -> None:
    assert directory.look_up(ldap, "ann", "a\0b") is None


def test_a_search_that_the_directory_refuses_is_no_wrong_password(ldap: Ldap, monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenLDAP answers for a search_base that is not there."""
    connect = directory.connect

    def refusing(*arguments: Any) -> Any:
        connection = connect(*arguments)

        def search(*_arguments: object, **_options: object) -> None:
            connection.response, connection.result = [], {"result": 32, "description": "noSuchObject"}

        monkeypatch.setattr(connection, "search", search)
        return connection

    monkeypatch.setattr(directory, "connect", refusing)
    with pytest.raises(Away, match=r"noSuchObject.*search_base"):
        directory.look_up(ldap, "ann", "password of ann")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("cn=Physics\\, Radiation,dc=hospital", "CN=physics\\2C radiation, DC=hospital", True),
        ("cn=M\\C3\\BCller,dc=hospital", "cn=Müller,dc=hospital", True),
        ("cn=a\\,dc=b,dc=hospital", "cn=a,dc=b,dc=hospital", False),
        ("cn=a+sn=b,dc=hospital", "cn=a,sn=b,dc=hospital", False),
    ],
)
def test_a_group_is_known_however_the_directory_writes_its_name(one: str, other: str, same: bool) -> None:
    assert (directory.same_dn(one) == directory.same_dn(other)) is same


def test_a_wrong_service_password_is_named(ldap: Ldap, tmp_path: Path) -> None:
    (tmp_path / "bind").write_text("wrong")
    with pytest.raises(Away, match="bind_password_file"):
        directory.look_up(ldap, "ann", "password of ann")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "bind").write_text("service")
    return make_place(tmp_path, ldap=section())


def test_a_person_of_the_directory_logs_in_by_the_same_form(place: Place) -> None:
    answer = browser(place).post("/login", data={"name": "Ann", "password": "password of ann"})
    assert answer.status_code == 303
    with reading(place.engine) as session:
        assert [(row.name, row.role) for row in session.scalars(select(WebSession))] == [("ldap:ann", "physicist")]


def test_guesses_at_the_directorys_passwords_are_locked_too(place: Place) -> None:
    client = browser(place)
    found = [client.post("/login", data={"name": "ann", "password": f"guess {i}"}).status_code for i in range(6)]
    assert found == [401] * 5 + [429]


def test_a_name_with_an_account_here_is_not_asked_for_in_the_directory(place: Place) -> None:
    make_account(place, "ann", Role.VIEWER)
    client = browser(place)
    assert client.post("/login", data={"name": "ann", "password": "password of ann"}).status_code == 401
    assert client.post("/login", data={"name": "ann", "password": PASSWORD}).status_code == 303


def test_an_unencrypted_connection_is_not_made(ldap: Ldap, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def start_tls(self) -> bool:
            return False

    monkeypatch.setattr(directory, "connect", lambda *_arguments: Plain())
    with pytest.raises(Away, match="STARTTLS"):
        directory.look_up(ldap.model_copy(update={"url": "ldap://d", "starttls": True}), "ann", "x")
