"""One canary patient through the whole daemon: where its name is found, and what the audit trail tells of it."""

import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest
from pydicom import dcmread

from tests.receiver import answers
from tests.world import Daemon, Tps, free_port, patient, send, wait_for, write_config

# pynetdicom leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

NAME, IDENTIFIER, BIRTH, DOCTOR = "Canarybird", "CANARY-4711", "19610203", "Doctorcanary"


@dataclass(frozen=True)
class Seen:
    """What was left behind: all that was printed, the storage, and the audit trail."""

    printed: str
    storage: Path
    audit: list[xml.Element]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Delivered, run again, sent again with another name, with broken pixels, and a worker that breaks on it."""
    folder = tmp_path_factory.mktemp("privacy")
    files = patient(folder / "ct")
    for path in files:
        marked(path, NAME)
    tps, collector = Tps(), free_port()
    trusted = folder / "ca.pem"
    trusted.write_text("")
    changes = {
        "audit": {"syslog": {"host": "127.0.0.1", "port": collector, "ca": str(trusted)}},
        "logging": {"level": "DEBUG", "format": "json"},
    }
    daemon = Daemon(write_config(folder, tps.port, **changes), folder / "daemon.log")
    with tps.running():
        daemon.start()
        try:
            assert set(send(daemon.port, files)) == {0}
            first = daemon.wait_for_state("DELIVERED", 60)
            assert daemon.command("jobs", "rerun", str(first["id"]), "--no-send").returncode == 0
            daemon.wait_for_state("SEGMENTED", 60)
            marked(files[0], f"{NAME}Two")
            marked(files[1], NAME, pixels=b"\0\0")
            assert send(daemon.port, files[:2]) == [0, 0xC000]
            trail = folder / "storage" / "audit.log"
            wait_for(lambda: trail.read_bytes().count(b"Transferred") >= 3, 30, daemon.tail)
        finally:
            daemon.stop()
    assert not answers(collector)
    lines = trail.read_bytes().splitlines()
    messages = [xml.fromstring(line.split(b"\xef\xbb\xbf", 1)[1]) for line in lines]
    return Seen(daemon.log.read_text(), folder / "storage", messages)


def marked(path: Path, name: str, pixels: bytes | None = None) -> None:
    dataset = dcmread(path)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = f"{name}^Yellow", IDENTIFIER, BIRTH
    dataset.SeriesDescription, dataset.ReferringPhysicianName = f"{name} planning", DOCTOR
    if pixels is not None:
        dataset.PixelData = pixels
    dataset.save_as(path)


@pytest.mark.parametrize("canary", [NAME, IDENTIFIER, BIRTH, DOCTOR])
def test_no_log_line_and_no_traceback_names_the_patient(seen: Seen, canary: str) -> None:
    assert "refused an object" in seen.printed, "the broken object left no line: nothing was tested"
    assert canary.lower() not in seen.printed.lower()


@pytest.mark.parametrize("canary", [NAME, IDENTIFIER, BIRTH])
def test_no_file_or_folder_is_named_after_the_patient(seen: Seen, canary: str) -> None:
    names = [str(path.relative_to(seen.storage)) for path in seen.storage.rglob("*")]
    assert len(names) > 20
    assert not [name for name in names if canary.lower() in name.lower()]


def test_nothing_in_the_storage_is_readable_by_others(seen: Seen) -> None:
    open_to_others = [path for path in [seen.storage, *seen.storage.rglob("*")] if path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert all(path.stat().st_uid == os.getuid() for path in seen.storage.rglob("*"))


def test_the_audit_trail_has_the_patients_id_and_no_other_word_of_the_patient(seen: Seen) -> None:
    text = b"".join(xml.tostring(message) for message in seen.audit).decode()
    assert f'ParticipantObjectID="{IDENTIFIER}"' in text
    assert not [word for word in (NAME, BIRTH, DOCTOR) if word.lower() in text.lower()]


def test_the_audit_trail_tells_who_sent_what_went_where_and_who_did_what(seen: Seen) -> None:
    told = {(event(m), m.find("EventIdentification").attrib["EventActionCode"], *users(m)) for m in seen.audit}  # type: ignore[union-attr]
    assert ("DICOM Instances Transferred", "C", "PACS", "rtseg-daemon") in told
    assert ("DICOM Instances Transferred", "R", "rtseg-daemon", "tps") in told
    assert [entry for entry in told if entry[0] == "Procedure Record" and entry[2] not in ("", "daemon")]
    kinds = [m.find("EventIdentification/EventTypeCode") for m in seen.audit]
    stated = [kind.attrib["originalText"] for kind in kinds if kind is not None]
    assert stated[0] == "Application Start"
    assert stated[-1] == "Application Stop"


def event(message: xml.Element) -> str:
    found = message.find("EventIdentification/EventID")
    assert found is not None
    return found.attrib["originalText"]


def users(message: xml.Element) -> tuple[str, str]:
    found = [participant.attrib["UserID"] for participant in message.findall("ActiveParticipant")]
    return found[0], found[1] if len(found) > 1 else ""
