"""The audit trail: what stands in it, and that a collector gets all of it."""

import contextlib
import os
import ssl
import threading
from pathlib import Path
from socket import create_server
from xml.etree import ElementTree as xml

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.ledger import associations
from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.states import Ending
from rtseg_daemon.upkeep import audit_messages, audit_trail
from rtseg_daemon.upkeep.audit_messages import AuditMessage, Participant, Trail
from tests.arrivals import receive
from tests.certificates import Authority


def configured(folder: Path, **audit_section: object) -> Config:
    return Config.model_validate({"storage": {"directory": folder}, "audit": audit_section})


def messages(path: Path) -> list[xml.Element]:
    """The XML of every line, after its syslog head."""
    return [xml.fromstring(line.split(b"\xef\xbb\xbf", 1)[1]) for line in path.read_bytes().splitlines()]


def event_of(message: xml.Element) -> str:
    found = message.find("EventIdentification/EventID")
    assert found is not None
    return found.attrib["originalText"]


def test_a_message_has_the_parts_that_the_standard_asks_for() -> None:
    message = AuditMessage(
        audit_messages.INSTANCES_TRANSFERRED,
        "C",
        1_790_000_000.5,
        [Participant("PACS", audit_messages.SOURCE, True, "10.0.0.5")],
        [audit_messages.study("1.2.3", 120), audit_messages.patient("P\u00e4<1>\x07")],
    )
    root = xml.fromstring(audit_messages.encode(message))
    event = root.find("EventIdentification")
    assert event is not None
    assert event.attrib["EventDateTime"].startswith("2026-09-21T")
    assert root.find("ActiveParticipant").attrib["NetworkAccessPointID"] == "10.0.0.5"  # type: ignore[union-attr]
    things = [thing.attrib["ParticipantObjectID"] for thing in root.findall("ParticipantObjectIdentification")]
    assert things == ["1.2.3", "P\u00e4<1>"]


def test_a_line_break_in_a_value_does_not_break_the_line() -> None:
    message = AuditMessage(
        audit_messages.PROCEDURE_RECORD, "U", 0.0, [Participant("a")], [audit_messages.job(1, "why:\n<AuditMessage/>")]
    )
    assert audit_messages.line(message).count(b"\n") == 0


def test_the_trail_is_only_appended_to_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "audit.log")
    for _ in range(3):
        audit_trail.note_stop(trail, 0.0)
    assert [event_of(m) for m in messages(trail.path)] == ["Application Activity"] * 3
    assert trail.path.stat().st_mode & 0o777 == 0o600


def test_what_was_sent_to_us_and_what_people_did_is_told_once(tmp_path: Path, ledger: Engine) -> None:
    config = configured(tmp_path)
    with writing(ledger) as session:
        one = associations.open_association(session, "PACS", "10.0.0.5")
        for k in range(3):
            receive(session, arrival(one, k))
        associations.end_association(session, one, Ending.RELEASED)
        record_event(session, "job", 7, "released", who="mueller", detail={"why": "checked on the console"})
        record_event(session, "job", 7, "claimed", who="worker-0-11")
    assert audit_trail.write_new(ledger, config) == 2
    assert audit_trail.write_new(ledger, config) == 0
    text = config.audit_file.read_text()
    assert "3 instances" in text
    assert 'ParticipantObjectID="P1"' in text
    assert "released: checked on the console" in text
    assert "mueller" in text
    assert "claimed" not in text


def test_a_long_association_delays_no_other_and_is_told_when_it_ends(tmp_path: Path, ledger: Engine) -> None:
    config = configured(tmp_path)
    with writing(ledger) as session:
        long, other = (associations.open_association(session, "PACS", "10.0.0.5") for _ in range(2))
        receive(session, arrival(long, 1))
        receive(session, arrival(other, 2))
        associations.end_association(session, other, Ending.RELEASED)
    assert audit_trail.write_new(ledger, config) == 1
    assert audit_trail.write_new(ledger, config) == 0
    with writing(ledger) as session:
        later = associations.open_association(session, "PACS", "10.0.0.5")
        receive(session, arrival(later, 3))
        associations.end_association(session, later, Ending.RELEASED)
    assert audit_trail.write_new(ledger, config) == 1
    with writing(ledger) as session:
        associations.end_association(session, long, Ending.ABORTED)
    assert audit_trail.write_new(ledger, config) == 1
    assert audit_trail.write_new(ledger, config) == 0
    assert len(messages(config.audit_file)) == 3


@pytest.mark.parametrize(
    "name", ["worker", "workerbee as rtseg", "worker-bob", "account daemon", "account worker-0-17"]
)
def test_a_decision_by_a_person_whose_name_begins_with_worker_is_told(
    tmp_path: Path, ledger: Engine, name: str
) -> None:
    config = configured(tmp_path)
    with writing(ledger) as session:
        record_event(session, "job", 7, "released", who=name)
        record_event(session, "job", 7, "claimed", who="worker-0-17")
        record_event(session, "job", 7, "made", who="daemon")
    assert audit_trail.write_new(ledger, config) == 1
    assert name in config.audit_file.read_text()


def test_a_changed_configuration_is_told_at_the_next_start(tmp_path: Path, ledger: Engine) -> None:
    file, trail = tmp_path / "c.yaml", Trail(tmp_path / "audit.log")
    for content in ("a: 1", "a: 1", "a: 2"):
        file.write_text(content)
        audit_trail.note_start(ledger, file, trail, 0.0)
    assert [event_of(m) for m in messages(trail.path)] == ["Application Activity"] * 3 + ["Security Alert"]


def test_a_trail_that_cannot_be_written_does_not_stop_the_start(tmp_path: Path, ledger: Engine) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("")
    audit_trail.note_start(ledger, file, Trail(tmp_path / "no" / "such" / "folder"), 0.0)


def arrival(association: int, k: int) -> Arrival:
    return Arrival(
        association, f"1.2.{k}", "1.2", "1.3", "1.4", "P1", "CT", "PACS", "10.0.0.5", f"p{k}", f"d{k}", 1, 1.0
    )


class Collector:
    """A syslog server over TLS that keeps what it gets."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.got = b""
        self.port = 0
        self.refused = False
        """Whether the client is expected to end the handshake."""
        self.silent: threading.Event | None = None
        """Until when the connection stays open without an answer, once the first lines have come."""

    def serve_once(self) -> threading.Thread:
        server = create_server(("127.0.0.1", self.port))
        self.port = server.getsockname()[1]

        def take() -> None:
            with server:
                plain, _ = server.accept()
                with plain, contextlib.suppress(*[ssl.SSLError] if self.refused else []):  # noqa: SIM117
                    with self.context.wrap_socket(plain, server_side=True) as secure:
                        while part := secure.recv(65536):
                            self.got += part
                            if self.silent is not None:
                                self.silent.wait(30)
                                return

        thread = threading.Thread(target=take)
        thread.start()
        return thread


@pytest.fixture
def collector(tmp_path: Path) -> tuple[Collector, Path]:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("collector")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return Collector(context), authority.certificate


def test_a_collector_that_was_away_gets_every_line_once(tmp_path: Path, collector: tuple[Collector, Path]) -> None:
    server, ca = collector
    thread = server.serve_once()
    config = configured(tmp_path, syslog={"host": "127.0.0.1", "port": server.port, "ca": str(ca)})
    trail = Trail(config.audit_file)
    audit_trail.note_stop(trail, 1.0)
    assert audit_trail.forward(config) == 1
    thread.join(5)
    audit_trail.note_stop(trail, 2.0)
    audit_trail.note_stop(trail, 3.0)
    with pytest.raises(OSError, match="refused"):
        audit_trail.forward(config)
    thread = server.serve_once()
    assert audit_trail.forward(config) == 2
    thread.join(5)
    assert audit_trail.forward(config) == 0
    expected = b"".join(str(len(m)).encode() + b" " + m for m in config.audit_file.read_bytes().splitlines())
    assert server.got == expected


@pytest.mark.parametrize(
    ("what", "event", "action"),
    [
        ("viewed", "DICOM Instances Accessed", "R"),
        ("released", "Procedure Record", "U"),
        ("rerun", "Procedure Record", "U"),
        ("cancelled", "Procedure Record", "U"),
    ],
)
def test_each_thing_a_person_does_is_told_with_who_did_it(
    tmp_path: Path, ledger: Engine, what: str, event: str, action: str
) -> None:
    config = configured(tmp_path)
    with writing(ledger) as session:
        record_event(session, "job", 7, what, who="mueller")
    assert audit_trail.write_new(ledger, config) == 1
    (message,) = messages(config.audit_file)
    assert event_of(message) == event
    assert message.find("EventIdentification").attrib["EventActionCode"] == action  # type: ignore[union-attr]
    assert message.find("ActiveParticipant").attrib["UserID"] == "mueller"  # type: ignore[union-attr]


def test_a_place_that_nobody_can_read_means_from_the_start(tmp_path: Path, collector: tuple[Collector, Path]) -> None:
    place = tmp_path / "audit.forwarded"
    assert audit_trail.reached(place).done == 0
    place.write_text("")
    assert audit_trail.reached(place).done == 0
    place.write_text("17")
    assert audit_trail.reached(place) == audit_trail.Reached(17), "as an earlier version wrote it"
    place.write_text("17 4 ab")
    assert audit_trail.reached(place) == audit_trail.Reached(17, 4, "ab")


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(b"whole\nto")
    message = AuditMessage(audit_messages.PROCEDURE_RECORD, "U", 0.0, [Participant("a")], [])
    audit_messages.Trail(path).append([message, message])
    lines = path.read_bytes().split(b"\n")
    assert (lines[:2], len(lines), lines[-1]) == ([b"whole", b"to"], 5, b"")


def test_a_collector_with_a_certificate_of_another_ca_gets_nothing(
    tmp_path: Path, collector: tuple[Collector, Path]
) -> None:
    server, _ = collector
    server.refused = True
    other = Authority(tmp_path / "other")
    thread = server.serve_once()
    config = configured(tmp_path, syslog={"host": "127.0.0.1", "port": server.port, "ca": str(other.certificate)})
    audit_trail.note_stop(Trail(config.audit_file), 1.0)
    with pytest.raises(ssl.SSLCertVerificationError):
        audit_trail.forward(config)
    thread.join(5)
    assert server.got == b""
    assert not config.audit_file.with_suffix(".forwarded").exists(), "the line must be sent once the collector is right"


def frames(path: Path) -> bytes:
    """The lines of a trail as the collector gets them."""
    return b"".join(str(len(m)).encode() + b" " + m for m in path.read_bytes().splitlines())


@pytest.mark.parametrize("unsent", [0, 2])
def test_a_trail_that_was_renamed_is_sent_to_its_end_and_then_the_new_one(
    tmp_path: Path, collector: tuple[Collector, Path], unsent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As logrotate does it with `create` or `nocreate`."""
    _, ca = collector
    config = configured(tmp_path, syslog={"host": "127.0.0.1", "port": 6514, "ca": str(ca)})
    got: list[bytes] = []
    monkeypatch.setattr(audit_trail, "send", lambda _collector, lines: got.extend(lines))
    trail = Trail(config.audit_file)
    audit_trail.note_stop(trail, 1.0)
    assert audit_trail.forward(config) == 1
    for number in range(unsent):
        audit_trail.note_stop(trail, 2.0 + number)
    old = config.audit_file.rename(tmp_path / "audit.log.1")
    assert audit_trail.forward(config) == unsent, "no new trail yet"
    audit_trail.note_stop(trail, 9.0)
    assert audit_trail.forward(config) == 1
    assert audit_trail.forward(config) == 0
    assert b"".join(got) == old.read_bytes() + config.audit_file.read_bytes()


def test_a_trail_that_was_emptied_in_place_is_sent_from_its_start(
    tmp_path: Path, collector: tuple[Collector, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As logrotate does it with `copytruncate`; also where the new trail has grown beyond what was sent of the old."""
    _, ca = collector
    config = configured(tmp_path, syslog={"host": "127.0.0.1", "port": 6514, "ca": str(ca)})
    got: list[bytes] = []
    monkeypatch.setattr(audit_trail, "send", lambda _collector, lines: got.extend(lines))
    trail = Trail(config.audit_file)
    audit_trail.note_stop(trail, 1.0)
    assert audit_trail.forward(config) == 1
    for lines in (1, 3):
        os.truncate(config.audit_file, 0)
        got.clear()
        for number in range(lines):
            audit_trail.note_stop(trail, 10.0 * lines + number)
        assert audit_trail.forward(config) == lines
        assert b"".join(got) == config.audit_file.read_bytes()


def test_a_collector_that_does_not_answer_the_farewell_gets_each_line_once(
    tmp_path: Path, collector: tuple[Collector, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ca = collector
    monkeypatch.setattr(audit_trail, "FAREWELL_SECONDS", 0.2)
    server.silent = threading.Event()
    thread = server.serve_once()
    config = configured(tmp_path, syslog={"host": "127.0.0.1", "port": server.port, "ca": str(ca)})
    audit_trail.note_stop(Trail(config.audit_file), 1.0)
    try:
        assert audit_trail.forward(config) == 1
        assert audit_trail.forward(config) == 0
    finally:
        server.silent.set()
        thread.join(5)
    assert server.got == frames(config.audit_file)
