"""/api/v1/bundles: as the commands show them, read once, and the way back to the version before."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rtseg_daemon.cli.models import app as models_app
from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.versions import read_active
from rtseg_daemon.web.pages import known_bundles
from rtseg_daemon.web.place import Place
from tests.dashboard import program, two_versions


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return two_versions(tmp_path)


def by_command(place: Place, *words: str) -> Any:
    config = place.layout.directory.parent / "config.yaml"
    return json.loads(CliRunner().invoke(models_app, [*words, "--json", "--config", str(config)]).stdout)


def test_a_bundle_is_shown_as_the_command_shows_it(place: Place) -> None:
    client = program(place)
    assert client.get("/api/v1/bundles").json() == by_command(place, "list")
    for name in ("tiny", "tiny@1.0"):
        assert client.get(f"/api/v1/bundles/{name}").json() == by_command(place, "show", name)


def test_a_damaged_bundle_is_listed_with_its_error(place: Place) -> None:
    client = program(place)
    (place.models / "tiny" / "2.0" / "member0.safetensors").write_bytes(b"altered")
    listed = client.get("/api/v1/bundles").json()
    assert listed == by_command(place, "list")
    assert "member0" in listed[0]["error"]
    assert client.get("/api/v1/bundles/tiny").status_code == 409


@pytest.mark.parametrize("name", ["nix", "tiny@9", "..", "%2e%2e", "a%2fb", "%00", "x" * 300])
def test_a_bundle_that_is_not_there_is_no_mistake_of_ours(place: Place, name: str) -> None:
    assert program(place).get(f"/api/v1/bundles/{name}").status_code in (404, 409, 422)


def test_pages_and_programs_share_one_reading(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    client = program(place)
    client.get("/bundles")
    monkeypatch.setattr(known_bundles, "load_bundle", lambda *_arguments: pytest.fail("read again"))
    assert client.get("/api/v1/bundles").json()[0]["version"] == "2.0"


def test_a_physicist_goes_back_to_the_version_before(place: Place) -> None:
    client = program(place, Role.PHYSICIST, "ann")
    assert client.post("/api/v1/bundles/tiny/rollback", json={"why": " "}).status_code == 422
    answer = client.post("/api/v1/bundles/tiny/rollback", json={"why": "parotids too large"})
    assert (answer.status_code, answer.json()["bundle"], answer.json()["after"]) == (200, "tiny", "1.0")
    assert client.get("/api/v1/bundles/tiny").json()["version"] == "1.0"
    with reading(place.engine) as session:
        last = session.query(Event).where(Event.subject == "bundle").order_by(Event.id.desc()).first()
    assert last is not None
    assert (last.what, last.who, last.detail["why"]) == ("rolled back", "token:ann", "parotids too large")
    again = client.post("/api/v1/bundles/tiny/rollback", json={"why": "further"})
    assert (again.status_code, "no version of tiny served before" in again.json()["error"]) == (409, True)


def test_while_somebody_else_decides_about_it_nobody_waits(place: Place) -> None:
    folder = os.open(place.models / "tiny", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        answer = program(place, Role.PHYSICIST).post("/api/v1/bundles/tiny/rollback", json={"why": "x"})
    finally:
        os.close(folder)
    assert (answer.status_code, "at this moment" in answer.json()["error"]) == (409, True)
    assert read_active(place.models, "tiny").serving[-1].version == "2.0"
