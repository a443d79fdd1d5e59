"""Going back to the version of a bundle that served before, by its page."""

from pathlib import Path

import pytest

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.versions import read_active
from rtseg_daemon.web.place import Place
from tests.dashboard import logged_in, two_versions

PATH = "/bundles/tiny/rollback"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return two_versions(tmp_path)


def serving(place: Place) -> str:
    return read_active(place.models, "tiny").serving[-1].version


def test_a_physicist_goes_back_once_with_a_reason(place: Place) -> None:
    client = logged_in(place, Role.PHYSICIST, "phil")
    assert f'href="{PATH}"' in client.get("/bundles/tiny").text
    asked = client.get(PATH).text
    assert "tiny from 2.0 to 1.0" in asked
    assert 'name="serving" value="2.0"' in asked
    assert client.post(PATH, data={"serving": "2.0", "why": " "}).status_code == 422
    assert serving(place) == "2.0"
    done = client.post(PATH, data={"serving": "2.0", "why": "parotids too large"})
    assert (done.status_code, done.headers["location"], serving(place)) == (303, "/bundles/tiny", "1.0")
    with reading(place.engine) as session:
        last = session.query(Event).where(Event.subject == "bundle").order_by(Event.id.desc()).first()
    assert last is not None
    assert (last.what, last.who, last.detail["why"]) == ("rolled back", "phil", "parotids too large")


def test_who_comes_second_changes_nothing(place: Place) -> None:
    one, two = logged_in(place, Role.PHYSICIST, "one"), logged_in(place, Role.PHYSICIST, "two")
    assert one.post(PATH, data={"serving": "2.0", "why": "a"}).status_code == 303
    told = two.post(PATH, data={"serving": "2.0", "why": "b"})
    assert (told.status_code, "1.0 serves by now" in told.text, serving(place)) == (409, True, "1.0")


def test_others_may_not_and_are_not_offered_it(place: Place) -> None:
    client = logged_in(place, Role.OPERATOR)
    assert PATH not in client.get("/bundles/tiny").text
    assert client.get(PATH).status_code == client.post(PATH, data={"serving": "2.0", "why": "x"}).status_code == 403
    assert serving(place) == "2.0"


def test_a_bundle_that_is_not_there_is_404(place: Place) -> None:
    client = logged_in(place, Role.PHYSICIST)
    assert client.get("/bundles/nix/rollback").status_code == 404
    assert client.post("/bundles/nix/rollback", data={"serving": "1", "why": "x"}).status_code == 404
