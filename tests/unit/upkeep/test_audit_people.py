"""Events of people as audit messages: logins, rights, and who saw which patient."""

from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.upkeep import audit_people, audit_trail
from rtseg_daemon.upkeep.audit_messages import encode
from rtseg_daemon.web.people import accounts
from rtseg_daemon.web.place import Place
from tests.dashboard import PASSWORD, make_place
from tests.unit.upkeep.test_housekeeping import stored_job, stored_series


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def told(place: Place) -> list[str]:
    """What the trail says, one XML document per line."""
    audit_trail.write_new(place.engine, place.config)
    lines = place.config.audit_file.read_text().splitlines()
    return [line[line.index("<AuditMessage") :] for line in lines]


@pytest.mark.parametrize(
    ("what", "code", "outcome"),
    [("logged in", "110122", "0"), ("logged out", "110123", "0"), ("login failed", "110122", "4")],
)
def test_logins_are_told_with_their_outcome_and_address(what: str, code: str, outcome: str) -> None:
    event = Event(at=1.0, subject="login", what=what, who="ann", detail={"address": "10.1.1.1"})
    message = xml.fromstring(encode(audit_people.told_by_login(event)))
    head = message.find("EventIdentification")
    assert head is not None
    assert head.attrib["EventOutcomeIndicator"] == outcome
    assert [one.attrib["csd-code"] for one in head] == ["110114", code]
    person = message.find("ActiveParticipant")
    assert person is not None
    assert (person.attrib["UserID"], person.attrib["NetworkAccessPointID"]) == ("ann", "10.1.1.1")


def test_changed_rights_are_told_and_no_password(place: Place) -> None:
    with writing(place.engine) as session:
        accounts.add_account(session, "ann", Role.ADMIN, PASSWORD, "root", place.now())
        accounts.add_account(session, "bob", Role.VIEWER, PASSWORD, "ann", place.now())
        accounts.set_role(session, "bob", Role.OPERATOR, "ann", place.now())
        accounts.set_password(session, "bob", "another long sentence", "bob", place.now())
        accounts.remove_account(session, "bob", "ann", place.now())
    lines = told(place)
    for line, what in zip(lines, ("added", "added", "role changed", "password changed", "removed"), strict=True):
        assert what in line
        assert "110113" in line
    assert "110136" in lines[2]
    assert not any(PASSWORD in line or "another long sentence" in line or "argon2" in line for line in lines)


def test_a_look_names_study_and_patient(place: Place) -> None:
    job = stored_job(place.engine, place.layout, stored_series(place.engine, place.layout))
    told(place)
    with writing(place.engine) as session:
        record_event(session, "job", job, "viewed", who="ann")
    line = told(place)[-1]
    assert "DICOM Instances Accessed" in line
    assert "Patient Number" in line
    assert f"job {job}" in line
    assert 'UserID="ann"' in line
