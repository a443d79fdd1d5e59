"""Events of people as audit messages: who logged in, whose rights changed, who saw which patient (PS3.15, A.5.3)."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from rtseg_daemon.ledger.schema import Event, Job, Series
from rtseg_daemon.upkeep import audit_messages
from rtseg_daemon.upkeep.audit_messages import AuditCode, AuditMessage, Participant, Thing

USER_AUTHENTICATION: AuditCode = ("110114", "User Authentication")
LOGIN: AuditCode = ("110122", "Login")
LOGOUT: AuditCode = ("110123", "Logout")
ROLES_CHANGED: AuditCode = ("110136", "Security Roles Changed")
ATTRIBUTES_CHANGED: AuditCode = ("110137", "User Security Attributes Changed")
MINOR_FAILURE = "4"

DAEMON = Participant("rtseg-daemon", audit_messages.APPLICATION)


def told_by_login(event: Event) -> AuditMessage:
    """Logged in, logged out, or failed to log in."""
    who = Participant(event.who, requestor=True, address=str(event.detail.get("address", "")) or None)
    kind = LOGOUT if event.what == "logged out" else LOGIN
    outcome = MINOR_FAILURE if event.what == "login failed" else audit_messages.SUCCESS
    return AuditMessage(USER_AUTHENTICATION, "E", event.at, [who, DAEMON], kind=kind, outcome=outcome)


def told_by_rights(event: Event) -> AuditMessage:
    """An account or a token was made, changed or taken away."""
    name = str(event.detail.get("account") or event.detail.get("token"))
    role = str(event.detail.get("role", ""))
    thing = Thing(f"{event.subject} {name}", ("12", "URI"), "2", "6", f"{event.what}: {role}" if role else event.what)
    kind = ROLES_CHANGED if event.what == "role changed" else ATTRIBUTES_CHANGED
    who = Participant(event.who, requestor=True)
    return AuditMessage(audit_messages.SECURITY_ALERT, "E", event.at, [who, DAEMON], [thing], kind)


def told_by_look(session: Session, event: Event) -> AuditMessage:
    """Who saw which patient."""
    thing = Thing(f"{event.subject} {event.subject_id}", ("12", "URI"), "4", "20", event.what)
    things = [*patient_of(session, event), thing]
    who = Participant(event.who, requestor=True)
    return AuditMessage(audit_messages.INSTANCES_ACCESSED, "R", event.at, [who, DAEMON], things)


def patient_of(session: Session, event: Event) -> Iterator[Thing]:
    """Study and patient of the job or series that an event is about."""
    if event.subject_id is None:
        return
    job = session.get(Job, event.subject_id) if event.subject == "job" else None
    number = job.series_id if job is not None else event.subject_id if event.subject == "series" else None
    series = session.get(Series, number) if number is not None else None
    if series is not None:
        yield Thing(series.study_instance_uid, ("110180", "Study Instance UID"), "2", "3")
        yield audit_messages.patient(series.patient_id)
