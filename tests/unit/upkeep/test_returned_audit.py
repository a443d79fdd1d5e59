"""The audit trail of what came back: from whom, whose, and who explained a name."""

from pathlib import Path

from sqlalchemy import Engine

from rtseg_daemon.upkeep import audit_trail
from tests.clinic import Clinic
from tests.synthetic import uid
from tests.unit.upkeep.test_audit_trail import event_of, messages


def test_a_set_that_came_back_and_a_name_that_was_explained_are_told_once(tmp_path: Path, ledger: Engine) -> None:
    clinic = Clinic(tmp_path, ledger)
    config = clinic.loop.desk.config
    row = clinic.comes_back(clinic.deliver().edited())
    clinic.explain("mystery", "Parotid_R")
    for _ in range(2):
        audit_trail.write_new(ledger, config)
    told = messages(config.audit_file)
    transfers = [one for one in told if "Transferred" in event_of(one) and "TPS" in str(users(one))]
    [came] = transfers
    assert users(came) == ["TPS", "rtseg-daemon"]
    things = [thing.attrib["ParticipantObjectID"] for thing in came.findall("ParticipantObjectIdentification")]
    assert things == [uid("study", 0), row.patient_id]
    [explained] = [one for one in told if "anna" in users(one)]
    assert "mystery" in str([thing.attrib for thing in explained.findall("ParticipantObjectIdentification")])


def users(message: object) -> list[str]:
    return [one.attrib["UserID"] for one in message.findall("ActiveParticipant")]  # type: ignore[attr-defined]
