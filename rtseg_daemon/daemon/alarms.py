"""Alarms: raised in the ledger by whoever sees something, sent from here by log, webhook and mail."""

import json
import smtplib
import urllib.request
from collections.abc import Callable, Iterator
from email.message import EmailMessage

from sqlalchemy import ColumnElement, Engine, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.schema import Alarm, Job, Series
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.logs import log
from rtseg_daemon.settings import Alarms, Mail

TRIES = 20
TIMEOUT_SECONDS = 10.0
DONE = (JobState.DELIVERED, JobState.CANCELLED)


def raise_late(engine: Engine, late_seconds: float, now: float) -> int:
    """Raise one alarm per series whose contours are not delivered `late_seconds` after its last slice."""
    alarmed = select(Alarm.id).where(Alarm.key.like("late:" + Series.id.cast(Alarm.key.type) + ":%")).exists()
    with reading(engine) as session:
        late = list(late_series(session, now - late_seconds, ~alarmed))
    for series_id, last, why in late:
        message = f"series {series_id}: contours are late, {why}"
        with writing(engine) as session:
            raise_alarm(session, "late", f"late:{series_id}:{int(last)}", message, at=now)
    return len(late)


def late_series(session: Session, before: float, *conditions: ColumnElement[bool]) -> Iterator[tuple[int, float, str]]:
    """(series, its last slice's time, how it stands) for every series that someone waits for since `before`."""
    unwanted = [SeriesState.UNROUTED, SeriesState.REMOVED]
    query = select(Series).where(Series.last_received_at < before, Series.state.not_in(unwanted), *conditions)
    for series in session.scalars(query):
        standing = how_it_stands(series)
        if standing:
            yield series.id, series.last_received_at, standing


def how_it_stands(series: Series) -> str | None:
    """Why a series is not delivered, from its newest jobs; None if nothing more is to come."""
    newest: dict[str, Job] = {job.bundle: job for job in series.jobs}
    waiting = [job for job in newest.values() if awaited(job)]
    if waiting:
        return ", ".join(f"job {job.id} is {job.state}" for job in waiting)
    return f"the series is {series.state} and has no job" if not newest else None


def awaited(job: Job) -> bool:
    """Whether someone waits for this job's contours; one that is not to be sent counts as done once it is segmented."""
    return job.state not in DONE and not (job.state is JobState.SEGMENTED and not job.deliveries)


def send_pending(engine: Engine, settings: Alarms) -> int:
    """Send what has not been sent by every configured channel; returns how many were."""
    with reading(engine) as session:
        query = select(Alarm).where(Alarm.sent_at.is_(None), Alarm.attempts < TRIES).order_by(Alarm.id)
        pending = session.scalars(query).all()
    return sum(_send(engine, alarm, settings) for alarm in pending)


def _send(engine: Engine, alarm: Alarm, settings: Alarms) -> bool:
    if alarm.attempts == 0:
        log().error("alarm", kind=alarm.kind, alarm=alarm.id, message=alarm.message)
    try:
        for channel in channels(settings):
            channel(alarm)
    except (OSError, smtplib.SMTPException) as error:
        log().warning("an alarm could not be sent; it is tried again", alarm=alarm.id, error=type(error).__name__)
        sent = False
    else:
        sent = True
    with writing(engine) as session:
        row = session.get_one(Alarm, alarm.id)
        row.attempts += 1
        row.sent_at = alarm.at if sent else None
    return sent


def channels(settings: Alarms) -> Iterator[Callable[[Alarm], None]]:
    """The ways out that are configured."""
    webhook, mail = settings.webhook, settings.mail
    if webhook is not None:
        yield lambda alarm: post(webhook, alarm)
    if mail is not None:
        yield lambda alarm: write_mail(mail, alarm)


def post(url: str, alarm: Alarm) -> None:
    """POST the alarm as JSON; raises OSError if it is not accepted."""
    body = json.dumps({"kind": alarm.kind, "at": alarm.at, "message": alarm.message, "id": alarm.id}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - http(s) by config
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310
        pass


def write_mail(mail: Mail, alarm: Alarm) -> None:
    """Send the alarm as a mail; raises OSError or SMTPException if the server does not take it."""
    message = EmailMessage()
    message["Subject"] = f"rtseg-daemon: {alarm.kind}"
    message["From"], message["To"] = mail.sender, ", ".join(mail.to)
    message.set_content(alarm.message)
    with smtplib.SMTP(mail.server, mail.port, timeout=TIMEOUT_SECONDS) as server:
        server.send_message(message)
