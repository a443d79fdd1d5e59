"""The audit trail: who sent and got what, who decided what. DICOM audit messages (PS3.15, A.5), one per line of a file.

The file is only ever appended to, and each line is durable before the next thing happens. A line is the syslog message
(RFC 5424) that a collector gets, so forwarding needs to remember a place in the file and nothing else (PS3.15, A.6).
Patients appear by their PatientID, as the standard asks for, and by nothing else: protect this file accordingly.
"""

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as xml

AuditCode = tuple[str, str]

APPLICATION_ACTIVITY: AuditCode = ("110100", "Application Activity")
INSTANCES_TRANSFERRED: AuditCode = ("110104", "DICOM Instances Transferred")
INSTANCES_ACCESSED: AuditCode = ("110103", "DICOM Instances Accessed")
PROCEDURE_RECORD: AuditCode = ("110111", "Procedure Record")
SECURITY_ALERT: AuditCode = ("110113", "Security Alert")

APPLICATION_START: AuditCode = ("110120", "Application Start")
APPLICATION_STOP: AuditCode = ("110121", "Application Stop")
SOFTWARE_CONFIGURATION: AuditCode = ("110131", "Software Configuration")

SOURCE: AuditCode = ("110153", "Source Role ID")
DESTINATION: AuditCode = ("110152", "Destination Role ID")
APPLICATION: AuditCode = ("110150", "Application")

SUCCESS = "0"
FACILITY_AND_SEVERITY = "<85>"  # security messages, notice (PS3.15, A.6.1)


@dataclass(frozen=True)
class Participant:
    """A person or node that took part."""

    user: str
    role: AuditCode | None = None
    requestor: bool = False
    address: str | None = None


@dataclass(frozen=True)
class Thing:
    """What it was about: a study, a patient or a job, by its identifier."""

    identifier: str
    kind: AuditCode
    type_code: str
    role_code: str
    detail: str = ""


@dataclass(frozen=True)
class AuditMessage:
    """One event. `action` is C, R, U, D or E, `at` in seconds since 1970."""

    event: AuditCode
    action: str
    at: float
    participants: Sequence[Participant]
    things: Sequence[Thing] = ()
    kind: AuditCode | None = None
    outcome: str = SUCCESS


def study(uid: str, images: int) -> Thing:
    return Thing(uid, ("110180", "Study Instance UID"), "2", "3", f"{images} instances")


def patient(identifier: str) -> Thing:
    return Thing(identifier, ("2", "Patient Number"), "1", "1")


def job(number: int, detail: str) -> Thing:
    return Thing(f"job {number}", ("12", "URI"), "4", "20", detail)


def encode(message: AuditMessage) -> bytes:
    """The message as XML (PS3.15, A.5.1) in one line."""
    root = xml.Element("AuditMessage")
    moment = datetime.fromtimestamp(message.at, UTC).isoformat(timespec="milliseconds")
    attributes = {"EventActionCode": message.action, "EventDateTime": moment, "EventOutcomeIndicator": message.outcome}
    event = xml.SubElement(root, "EventIdentification", attributes)
    add_code(event, "EventID", message.event)
    if message.kind is not None:
        add_code(event, "EventTypeCode", message.kind)
    for participant in message.participants:
        add_participant(root, participant)
    xml.SubElement(root, "AuditSourceIdentification", {"AuditSourceID": "rtseg-daemon"})
    for thing in message.things:
        add_thing(root, thing)
    encoded: bytes = xml.tostring(root, encoding="utf-8")
    return encoded.replace(b"\n", b"&#10;")


def add_code(parent: xml.Element, tag: str, code: AuditCode) -> None:
    xml.SubElement(parent, tag, {"csd-code": code[0], "codeSystemName": "DCM", "originalText": code[1]})


def add_participant(root: xml.Element, participant: Participant) -> None:
    attributes = {"UserID": clean(participant.user), "UserIsRequestor": str(participant.requestor).lower()}
    if participant.address:
        attributes |= {"NetworkAccessPointID": participant.address, "NetworkAccessPointTypeCode": "2"}
    element = xml.SubElement(root, "ActiveParticipant", attributes)
    if participant.role is not None:
        add_code(element, "RoleIDCode", participant.role)


def add_thing(root: xml.Element, thing: Thing) -> None:
    attributes = {
        "ParticipantObjectID": clean(thing.identifier),
        "ParticipantObjectTypeCode": thing.type_code,
        "ParticipantObjectTypeCodeRole": thing.role_code,
    }
    element = xml.SubElement(root, "ParticipantObjectIdentification", attributes)
    add_code(element, "ParticipantObjectIDTypeCode", thing.kind)
    if thing.detail:
        described = xml.SubElement(element, "ParticipantObjectDescription")
        described.text = clean(thing.detail)


def clean(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold."""
    return "".join(
        c for c in text if c in "\t" or (ord(c) >= 0x20 and not 0xD800 <= ord(c) <= 0xDFFF and ord(c) < 0xFFFE)
    )


def line(message: AuditMessage) -> bytes:
    """The whole syslog message, as it stands in the file and goes to a collector."""
    moment = datetime.fromtimestamp(message.at, UTC).isoformat(timespec="milliseconds")
    head = f"{FACILITY_AND_SEVERITY}1 {moment} {socket.gethostname()} rtseg-daemon {os.getpid()} DICOM+RFC3881 - "
    return head.encode() + b"\xef\xbb\xbf" + encode(message)


class Trail:
    """The file. Several processes may append: each line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, messages: Sequence[AuditMessage]) -> None:
        """Write all of them durably. Raises OSError where that is not possible.

        A line that a full disk cut off is ended first, so that no later one is glued to it.
        """
        if not messages:
            return
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            for message in messages:
                written = (b"\n" if torn else b"") + line(message) + b"\n"
                torn = os.write(descriptor, written) < len(written)
                if torn:
                    raise OSError(errno.ENOSPC, "the audit trail took a part of a line", str(self.path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
