"""From the ledger to the audit trail, and from there to a collector that may be away for days.

Every decision, transfer and delivery is in the ledger already, written in the transaction that made it. So nothing has
to be remembered at the place where it happens: a periodic chore writes what is new since the last time. A crash between
the two can repeat a line, and never lose one.
"""

import contextlib
import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Collector
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Association, Delivery, Event, Instance, Job, Series, SeriesAssociation, Setting
from rtseg_daemon.logs import log
from rtseg_daemon.storage import write_durably
from rtseg_daemon.upkeep import audit_messages
from rtseg_daemon.upkeep.audit_messages import Message, Participant, Trail

BATCH = 500
TIMEOUT_SECONDS = 10.0
EVENTS_SEEN, ASSOCIATIONS_SEEN, CONFIG_SEEN = "audit_event", "audit_association", "audit_config"
DAEMON = Participant("rtseg-daemon", audit_messages.APPLICATION)


def note_start(engine: Engine, config_file: Path, trail: Trail, now: float) -> None:
    """Application start, and a changed configuration where the file is not the one of the last start."""
    digest = hashlib.sha256(config_file.read_bytes()).hexdigest()
    messages = [Message(audit_messages.APPLICATION_ACTIVITY, "E", now, [DAEMON], kind=audit_messages.APPLICATION_START)]
    with writing(engine) as session:
        before = remembered(session, CONFIG_SEEN)
        session.merge(Setting(key=CONFIG_SEEN, value=digest))
    if before and before != digest:
        thing = audit_messages.Thing(f"configuration {digest[:16]}", ("12", "URI"), "2", "13", f"was {before[:16]}")
        messages.append(
            Message(audit_messages.SECURITY_ALERT, "E", now, [DAEMON], [thing], audit_messages.SOFTWARE_CONFIGURATION)
        )
    append_or_say(trail, messages)


def note_stop(trail: Trail, now: float) -> None:
    append_or_say(
        trail, [Message(audit_messages.APPLICATION_ACTIVITY, "E", now, [DAEMON], kind=audit_messages.APPLICATION_STOP)]
    )


def append_or_say(trail: Trail, messages: list[Message]) -> None:
    """Where the trail cannot be written, patients go first: the log says so, and the chores try again later."""
    try:
        trail.append(messages)
    except OSError as error:
        log().error("the audit trail cannot be written", exc_info=error)


def write_new(engine: Engine, config: Config) -> int:
    """Write to the trail what the ledger has that it has not; returns how many lines."""
    trail = Trail(config.audit_file)
    with reading(engine) as session:
        events = new_rows(session, Event, EVENTS_SEEN)
        associations = ended_in_order(new_rows(session, Association, ASSOCIATIONS_SEEN))
        messages = [m for event in events for m in told_by_event(session, event)]
        messages += [m for association in associations for m in told_by_association(session, association)]
    trail.append(messages)
    if events or associations:
        with writing(engine) as session:
            for key, rows in ((EVENTS_SEEN, events), (ASSOCIATIONS_SEEN, associations)):
                if rows:
                    session.merge(Setting(key=key, value=str(rows[-1].id)))
    return len(messages)


def remembered(session: Session, key: str) -> str:
    setting = session.get(Setting, key)
    return setting.value if setting else ""


Row = TypeVar("Row", Event, Association)


def new_rows(session: Session, table: type[Row], key: str) -> list[Row]:
    """Rows after the last one that was told, oldest first."""
    last = int(remembered(session, key) or 0)
    return list(session.scalars(select(table).where(table.id > last).order_by(table.id).limit(BATCH)))


def ended_in_order(associations: list[Association]) -> list[Association]:
    """Those before the first that is still open: a later one waits for it, so that one number says how far we are."""
    still_open = next((k for k, a in enumerate(associations) if a.ended_at is None), len(associations))
    return associations[:still_open]


def told_by_association(session: Session, association: Association) -> Iterator[Message]:
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
        yield Message(audit_messages.INSTANCES_TRANSFERRED, "C", at, [sender, receiver()], things)


def receiver() -> Participant:
    return Participant("rtseg-daemon", audit_messages.DESTINATION)


def told_by_event(session: Session, event: Event) -> Iterator[Message]:
    """What was sent where, and what a person did; the daemon's own steps are no audit matter."""
    if event.subject == "delivery" and event.what == "sent" and event.subject_id is not None:
        delivery = session.get(Delivery, event.subject_id)
        if delivery is not None:
            yield told_by_delivery(session, event, delivery)
    elif event.who != "daemon" and not event.who.startswith("worker"):
        yield told_by_person(event)


def told_by_delivery(session: Session, event: Event, delivery: Delivery) -> Message:
    series = session.get_one(Series, session.get_one(Job, delivery.job_id).series_id)
    things = [audit_messages.study(series.study_instance_uid, 1), audit_messages.patient(series.patient_id)]
    there = Participant(delivery.destination, audit_messages.DESTINATION)
    ours = Participant("rtseg-daemon", audit_messages.SOURCE, requestor=True)
    return Message(audit_messages.INSTANCES_TRANSFERRED, "R", event.at, [ours, there], things)


def told_by_person(event: Event) -> Message:
    """Viewed, released, run again, cancelled: who, what, and why where that was asked for."""
    viewed = event.what == "viewed"
    why = str(event.detail.get("why", ""))
    thing = audit_messages.Thing(
        f"{event.subject} {event.subject_id}", ("12", "URI"), "4", "20", f"{event.what}: {why}" if why else event.what
    )
    code, action = (audit_messages.INSTANCES_ACCESSED, "R") if viewed else (audit_messages.PROCEDURE_RECORD, "U")
    return Message(code, action, event.at, [Participant(event.who, requestor=True), DAEMON], [thing])


# --- to a collector --------------------------------------------------------------------------------------------------


def forward(config: Config) -> int:
    """Send the lines that the collector has not had; returns how many. Raises OSError while it is away.

    The place reached is written beside the file after each batch, so an interrupted batch is sent again.
    """
    collector = config.audit.syslog
    if collector is None or not config.audit_file.is_file():
        return 0
    place = config.audit_file.with_suffix(".forwarded")
    done = reached(place)
    with config.audit_file.open("rb") as file:
        file.seek(done)
        lines = [line for line in file.readlines(1_000_000) if line.endswith(b"\n")]
    if lines:
        send(collector, lines)
        write_durably(place, str(done + sum(map(len, lines))).encode())
        log().info("audit lines forwarded", lines=len(lines))
    return len(lines)


def reached(place: Path) -> int:
    """The bytes that were forwarded; 0 where nobody knows, since lines may repeat and none may be missing."""
    try:
        return int(place.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def send(collector: Collector, lines: list[bytes]) -> None:
    """Syslog over TLS: each message after its length (RFC 5425, 4.3); raises OSError, ssl.SSLError among them."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(collector.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((collector.host, collector.port), TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=collector.host) as secure,
    ):
        for line in lines:
            message = line.rstrip(b"\n")
            secure.sendall(str(len(message)).encode() + b" " + message)
        with contextlib.suppress(ssl.SSLEOFError):  # some collectors hang up without a farewell
            secure.unwrap()
