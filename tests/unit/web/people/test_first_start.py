"""The one-time link that makes the first admin."""

from pathlib import Path

import pytest
from sqlalchemy import select

from rtseg_daemon.config.web import Role
from rtseg_daemon.daemon import web_start
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.people import Account
from rtseg_daemon.ledger.schema import Setting
from rtseg_daemon.web.people.first_start import new_link
from rtseg_daemon.web.place import Place
from tests.dashboard import PASSWORD, browser, make_account, make_place, wait

FORM = {"name": "ann", "password": PASSWORD, "again": PASSWORD}
OPEN = {"host": "0.0.0.0", "names": ["rtseg.example"], "tls": {"certificate": "c.pem", "key": "k.pem"}}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def link_of(place: Place) -> str:
    with writing(place.engine) as session:
        link = new_link(session, place.config.web, place.now())
    assert link is not None
    return link


def roles(place: Place) -> dict[str, str]:
    with reading(place.engine) as session:
        return {account.name: account.role for account in session.scalars(select(Account))}


def test_the_link_makes_one_admin_and_logs_in(place: Place) -> None:
    link = link_of(place)
    client = browser(place)
    assert client.get(link).status_code == 200
    assert client.get(link).status_code == 200, "looking at it uses nothing up"
    made = client.post(link, data=FORM)
    assert made.status_code == 303
    assert "rtseg" in client.cookies
    assert roles(place) == {"ann": "admin"}
    assert client.get(link).status_code == 404
    assert client.post(link, data=FORM | {"name": "eve"}).status_code == 404
    assert roles(place) == {"ann": "admin"}


def test_a_mistake_in_the_form_leaves_the_link_as_it_is(place: Place) -> None:
    link, client = link_of(place), browser(place)
    for wrong in ({"again": "another password"}, {"password": "short", "again": "short"}, {"name": "<b>"}):
        assert client.post(link, data=FORM | wrong).status_code == 422
    assert client.post(link, data=FORM).status_code == 303


def test_the_link_ends_after_an_hour_and_with_the_next_start(place: Place) -> None:
    old, client = link_of(place), browser(place)
    new = link_of(place)
    assert client.get(old).status_code == 404
    assert client.get(new).status_code == 200
    wait(place, 3601)
    assert client.get(new).status_code == 404


def test_a_guessed_link_makes_nobody(place: Place) -> None:
    link_of(place)
    for guess in ("x", "..%2flogin", "%00", "a" * 5000):
        assert browser(place).post(f"/first/{guess}", data=FORM).status_code in (404, 405)
    assert roles(place) == {}


def test_there_is_no_link_once_somebody_can_log_in(place: Place) -> None:
    make_account(place, "ann", Role.VIEWER)
    with writing(place.engine) as session:
        assert new_link(session, place.config.web, place.now()) is None


def test_there_is_no_link_for_a_dashboard_that_is_open_to_the_network(tmp_path: Path) -> None:
    place = make_place(tmp_path, **OPEN)
    with writing(place.engine) as session:
        assert new_link(session, place.config.web, place.now()) is None


def test_the_start_prints_the_link_on_standard_output_and_not_in_the_log(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    web_start.invite_first_admin(place.config, place.engine)
    told = capsys.readouterr()
    secret = told.out.split("/first/")[1].split()[0]
    assert secret not in told.err
    with reading(place.engine) as session:
        assert not any(secret in setting.value for setting in session.scalars(select(Setting)))
    assert browser(place).get(f"/first/{secret}").status_code == 200


def test_open_to_the_network_without_an_account_is_refused(tmp_path: Path) -> None:
    place = make_place(tmp_path, **OPEN)
    for refused in (
        lambda: web_start.require_accounts(place.config, place.engine),
        lambda: web_start.check_accounts(place.config),
    ):
        with pytest.raises(ConfigError, match="nobody can log in yet"):
            refused()
    make_account(place, "ann", Role.ADMIN)
    web_start.require_accounts(place.config, place.engine)
    web_start.check_accounts(place.config)


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    place = make_place(tmp_path, **OPEN)
    with pytest.raises(ConfigError, match=r"web.tls: .*c.pem cannot be used"):
        web_start.check_web(place.config.web)


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    oidc = {"issuer": "https://i.example", "client_id": "x", "client_secret_file": "no.txt", "roles": {"g": "viewer"}}
    place = make_place(tmp_path, oidc=oidc)
    with pytest.raises(ConfigError, match=r"web.oidc.client_secret_file: there is no file .*no.txt"):
        web_start.check_web(place.config.web)
