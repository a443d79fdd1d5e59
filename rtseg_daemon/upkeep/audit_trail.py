"""From the ledger to the audit trail, and from there to a collector that may be away for days.

Every decision, transfer and delivery is in the ledger already, written in the transaction that made it. So nothing has
to be remembered at the place where it happens: a periodic chore writes what is new since the last time. A crash between
the two can repeat a line, and never lose one.
"""

import contextlib
import fcntl
import glob
import hashlib
import os
import socket
import ssl
import struct
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Collector
from rtseg_daemon.ledger.engine import reading, still_ours, writing
from rtseg_daemon.ledger.events import is_own
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.returned import SUBJECT
from rtseg_daemon.ledger.schema import (
    Delivery,
    Event,
    IncomingAssociation,
    Instance,
    Job,
    Series,
    SeriesAssociation,
    Setting,
)
from rtseg_daemon.ledger.states import ReturnedState
from rtseg_daemon.logs import log
from rtseg_daemon.storage import write_durably
from rtseg_daemon.upkeep import audit_messages, audit_people
from rtseg_daemon.upkeep.audit_messages import AuditMessage, Participant, Trail

BATCH = 500
MOST_BYTES = 1_000_000
TIMEOUT_SECONDS = 10.0
FAREWELL_SECONDS = 2.0
EVENTS_SEEN, ASSOCIATIONS_SEEN, CONFIG_SEEN = "audit_event", "audit_association", "audit_config"
ASSOCIATIONS_OPEN = "audit_association_open"
"""Numbers of the associations up to ASSOCIATIONS_SEEN that are still to be told."""
DAEMON = Participant("rtseg-daemon", audit_messages.APPLICATION)


def note_start(engine: Engine, config_file: Path, trail: Trail, now: float, host: str | None = None) -> None:
    """Application start, and a changed configuration where the file is not the one of the last start on `host`."""
    key = CONFIG_SEEN if host is None else f"{CONFIG_SEEN} {host}"
    digest = hashlib.sha256(config_file.read_bytes()).hexdigest()
    messages = [
        AuditMessage(audit_messages.APPLICATION_ACTIVITY, "E", now, [DAEMON], kind=audit_messages.APPLICATION_START)
    ]
    with writing(engine) as session:
        before = remembered(session, key)
        session.merge(Setting(key=key, value=digest))
    if before and before != digest:
        thing = audit_messages.Thing(f"configuration {digest[:16]}", ("12", "URI"), "2", "13", f"was {before[:16]}")
        messages.append(
            AuditMessage(
                audit_messages.SECURITY_ALERT, "E", now, [DAEMON], [thing], audit_messages.SOFTWARE_CONFIGURATION
            )
        )
    append_or_say(trail, messages)


def note_stop(trail: Trail, now: float) -> None:
    append_or_say(
        trail,
        [AuditMessage(audit_messages.APPLICATION_ACTIVITY, "E", now, [DAEMON], kind=audit_messages.APPLICATION_STOP)],
    )


def append_or_say(trail: Trail, messages: list[AuditMessage]) -> None:
    """Where the trail cannot be written, patients go first: the log says so, and the chores try again later."""
    try:
        trail.append(messages)
    except OSError as error:
        log().error("the audit trail cannot be written", exc_info=error)


def write_new(engine: Engine, config: Config) -> int:
    """Write to the trail what the ledger has that it has not. Returns how many lines."""
    trail = Trail(config.audit_file)
    with reading(engine) as session:
        events = new_rows(session, Event, EVENTS_SEEN)
        new = new_rows(session, IncomingAssociation, ASSOCIATIONS_SEEN)
        pending = [*passed_over(session), *new]
        associations = [one for one in pending if one.ended_at is not None]
        messages = [m for event in events for m in told_by_event(session, event)]
        messages += [m for association in associations for m in told_by_association(session, association)]
    still_ours(engine)
    trail.append(messages)
    if events or new or associations:
        with writing(engine) as session:
            for key, rows in ((EVENTS_SEEN, events), (ASSOCIATIONS_SEEN, new)):
                if rows:
                    session.merge(Setting(key=key, value=str(rows[-1].id)))
            still_open = " ".join(str(one.id) for one in pending if one.ended_at is None)
            session.merge(Setting(key=ASSOCIATIONS_OPEN, value=still_open))
    return len(messages)


def remembered(session: Session, key: str) -> str:
    setting = session.get(Setting, key)
    return setting.value if setting else ""


Row = TypeVar("Row", Event, IncomingAssociation)


def new_rows(session: Session, table: type[Row], key: str) -> list[Row]:
    """Rows after the last one that was told, oldest first."""
    last = int(remembered(session, key) or 0)
    return list(session.scalars(select(table).where(table.id > last).order_by(table.id).limit(BATCH)))


def passed_over(session: Session) -> list[IncomingAssociation]:
    """Associations that were still open when later ones were told. A long one must not delay those."""
    numbers = [int(number) for number in remembered(session, ASSOCIATIONS_OPEN).split()]
    return list(
        session.scalars(
            select(IncomingAssociation).where(IncomingAssociation.id.in_(numbers)).order_by(IncomingAssociation.id)
        )
    )


def told_by_association(session: Session, association: IncomingAssociation) -> Iterator[AuditMessage]:
    """Who sent what: one message per study."""
    counts = (
        select(Series.study_instance_uid, Series.patient_id, func.count(Instance.id))
        .join(SeriesAssociation, SeriesAssociation.series_id == Series.id)
        .outerjoin(Instance, (Instance.series_id == Series.id) & (Instance.association_id == association.id))
        .where(SeriesAssociation.association_id == association.id)
        .group_by(Series.study_instance_uid, Series.patient_id)
    )
    sender = Participant(association.calling_ae, audit_messages.SOURCE, True, association.calling_host)
    for study_uid, patient_id, count in session.execute(counts):
        things = [audit_messages.study(study_uid, count), audit_messages.patient(patient_id)]
        at = association.ended_at or association.opened_at
        yield AuditMessage(audit_messages.INSTANCES_TRANSFERRED, "C", at, [sender, receiver()], things)


def receiver() -> Participant:
    return Participant("rtseg-daemon", audit_messages.DESTINATION)


def told_by_event(session: Session, event: Event) -> Iterator[AuditMessage]:
    """What was sent where, and what a person did. The daemon's own steps are no audit matter."""
    if event.subject == "delivery" and event.what == "sent" and event.subject_id is not None:
        delivery = session.get(Delivery, event.subject_id)
        if delivery is not None:
            yield told_by_delivery(session, event, delivery)
    elif event.subject == SUBJECT and event.from_state == ReturnedState.RECEIVED and event.subject_id is not None:
        yield told_by_returned(event, session.get_one(ReturnedSet, event.subject_id))
    elif event.subject == "login":
        yield audit_people.told_by_login(event)
    elif event.subject in ("account", "token"):
        yield audit_people.told_by_rights(event)
    elif event.what == "viewed":
        yield audit_people.told_by_look(session, event)
    elif not is_own(event.who):
        yield told_by_person(event)


def told_by_delivery(session: Session, event: Event, delivery: Delivery) -> AuditMessage:
    series = session.get_one(Series, session.get_one(Job, delivery.job_id).series_id)
    things = [audit_messages.study(series.study_instance_uid, 1), audit_messages.patient(series.patient_id)]
    there = Participant(delivery.destination, audit_messages.DESTINATION)
    ours = Participant("rtseg-daemon", audit_messages.SOURCE, requestor=True)
    return AuditMessage(audit_messages.INSTANCES_TRANSFERRED, "R", event.at, [ours, there], things)


def told_by_returned(event: Event, row: ReturnedSet) -> AuditMessage:
    """A structure set that came back: from whom, and whose it says it is."""
    things = [audit_messages.study(row.study_instance_uid, 1), audit_messages.patient(row.patient_id)]
    sender = Participant(row.calling_ae or "unknown", audit_messages.SOURCE, True, row.calling_host)
    return AuditMessage(audit_messages.INSTANCES_TRANSFERRED, "C", event.at, [sender, receiver()], things)


def told_by_person(event: Event) -> AuditMessage:
    """Released, run again, cancelled: who, what, and why where that was asked for."""
    why = str(event.detail.get("why", ""))
    named = event.detail.get("bundle") or event.detail.get("name")
    about = named if event.subject_id is None else event.subject_id
    after = f" to {event.detail['after']}" if "after" in event.detail else ""
    what = f"{event.what}{after}"
    thing = audit_messages.Thing(
        f"{event.subject} {about}", ("12", "URI"), "4", "20", f"{what}: {why}" if why else what
    )
    who = Participant(event.who, requestor=True)
    return AuditMessage(audit_messages.PROCEDURE_RECORD, "U", event.at, [who, DAEMON], [thing])


# --- to a collector --------------------------------------------------------------------------------------------------


def forward(config: Config) -> int:
    """Send the lines that the collector has not had. Returns how many. Raises OSError while it is away.

    The place reached is written beside the file after each batch, so an interrupted batch is sent again.
    """
    collector, file = config.audit.syslog, config.audit_file
    if collector is None:
        return 0
    place = file.with_suffix(".forwarded")
    sent = 0
    for path, start in unsent(file, reached(place)):
        with path.open("rb") as trail:
            trail.seek(start)
            lines = [line for line in trail.readlines(MOST_BYTES) if line.endswith(b"\n")]
            if lines:
                send(collector, lines)
                write_durably(place, place_in(trail, start + sum(map(len, lines))).encode())
                log().info("audit lines forwarded", lines=len(lines))
        sent += len(lines)
    return sent


@dataclass(frozen=True)
class Reached:
    """How far the collector has the trail: a file, known by its inode and how it begins, and the bytes of it."""

    done: int = 0
    inode: int | None = None
    head: str = ""


def reached(place: Path) -> Reached:
    """The place that was written last, or the start where nobody knows: lines may repeat, and none may be missing."""
    try:
        done, *rest = place.read_text().split()
        return Reached(int(done), int(rest[0]), rest[1]) if len(rest) == 2 else Reached(int(done))
    except (FileNotFoundError, ValueError):
        return Reached()


def place_in(trail: BinaryIO, done: int) -> str:
    return f"{done} {os.fstat(trail.fileno()).st_ino} {head_of(trail)}"


def head_of(trail: BinaryIO) -> str:
    """Tells files of one inode apart: a digest of the first line, which has a time in it."""
    trail.seek(0)
    return hashlib.sha256(trail.readline(4096)).hexdigest()[:16]


def unsent(file: Path, before: Reached) -> list[tuple[Path, int]]:
    """(file, first byte) of what the collector has not had.

    A trail that was renamed is looked for beside itself (`audit.log.1`) and sent to its end, then the new one from its
    start. So is one that was emptied in place. What nobody has forwarded of that before is in the copy alone.
    """
    if not file.is_file():
        return [(one, before.done) for one in renamed(file, before)]
    if is_same(file, before):
        return [(file, before.done)]
    old = renamed(file, before)
    if not old:
        log().error("the audit trail was emptied or moved away; what was not forwarded before is not forwarded")
    return [*((one, before.done) for one in old), (file, 0)]


def is_same(file: Path, before: Reached) -> bool:
    """Whether this is the file of which so much was sent."""
    with file.open("rb") as trail:
        status = os.fstat(trail.fileno())
        if status.st_size < before.done:
            return False
        return before.inode is None or (status.st_ino == before.inode and head_of(trail) == before.head)


def renamed(file: Path, before: Reached) -> list[Path]:
    """The file of which so much was sent, under the name that a rotation gave it."""
    beside = [path for path in sorted(file.parent.glob(f"{glob.escape(file.name)}?*")) if path.is_file()]
    return [path for path in beside if before.inode == path.stat().st_ino and is_same(path, before)]


def send(collector: Collector, lines: list[bytes]) -> None:
    """Syslog over TLS: each message after its length (RFC 5425, 4.3). Raises OSError, ssl.SSLError among them.

    Sent is what the collector's machine has taken. Its answer to our farewell (close_notify) is not waited for long:
    some collectors hang up without one or never answer it, and would get the same lines again and again.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(collector.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((collector.host, collector.port), TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=collector.host) as secure,
    ):
        for line in lines:
            message = line.rstrip(b"\n")
            secure.sendall(str(len(message)).encode() + b" " + message)
        wait_until_taken(secure)
        secure.settimeout(FAREWELL_SECONDS)
        with contextlib.suppress(OSError):
            secure.unwrap()


def wait_until_taken(connection: socket.socket) -> None:
    """Until the other machine has acknowledged every byte (tcp(7), SIOCOUTQ). Raises TimeoutError if it does not."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0] > 0:
        if time.monotonic() > deadline:
            raise TimeoutError("the collector does not take what was sent")
        time.sleep(0.01)
