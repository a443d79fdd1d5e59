"""Alarms: raised in the ledger by whoever sees something, sent from here by log, webhook and mail."""

import json
import smtplib
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPException

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.sections import Alarms, Mail
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.schema import Alarm, Job, Series, Setting
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.logs import log
from rtseg_daemon.upkeep.deadline import cut_off_after, urlopen

TIMEOUT_SECONDS = 10.0
"""For one attempt on one channel, from its first byte to its last."""
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 1800.0
Notify = Callable[[Alarm], None]
DONE = (JobState.DELIVERED, JobState.CANCELLED)


def raise_late(engine: Engine, late_seconds: float, now: float) -> int:
    """Raise an alarm per series whose contours are not delivered `late_seconds` after its last slice.

    One that was sent again and is late again is told again.
    """
    with reading(engine) as session:
        late = {
            f"late:{series_id}:{int(last)}": f"series {series_id}: contours are late, {why}"
            for series_id, last, why in late_series(session, now - late_seconds)
        }
        known = set(session.scalars(select(Alarm.key).where(Alarm.key.in_(late))))
    new = {key: message for key, message in late.items() if key not in known}
    for key, message in new.items():
        with writing(engine) as session:
            raise_alarm(session, "late", key, message, at=now)
    return len(new)


def late_series(session: Session, before: float) -> Iterator[tuple[int, float, str]]:
    """(series, its last slice's time, how it stands) for every series that someone waits for since `before`."""
    unwanted = [SeriesState.UNROUTED, SeriesState.REMOVED]
    query = select(Series).where(Series.last_received_at < before, Series.state.not_in(unwanted))
    for series in session.scalars(query):
        standing = how_it_stands(series)
        if standing:
            yield series.id, series.last_received_at, standing


def how_it_stands(series: Series) -> str | None:
    """Why a series is not delivered, from its newest jobs, or None if nothing more is to come."""
    newest: dict[str, Job] = {job.bundle: job for job in series.jobs if not job.no_send}
    waiting = [job for job in newest.values() if awaited(job)]
    if waiting:
        return ", ".join(f"job {job.id} is {job.state}" for job in waiting)
    return f"the series is {series.state} and has no job" if not newest else None


def awaited(job: Job) -> bool:
    """Whether someone waits for this job's contours. Without a destination it is done once it is segmented."""
    return job.state not in DONE and not (job.state is JobState.SEGMENTED and not job.deliveries)


@dataclass
class Pauses:
    """How long each channel is left alone after it failed: twice as long each time, by a clock that no one can set."""

    now: Callable[[], float] = time.monotonic
    failures: dict[str, int] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)

    def over(self, channel: str) -> bool:
        return self.now() >= self.until.get(channel, 0.0)

    def succeeded(self, channel: str) -> None:
        self.failures[channel] = 0

    def failed(self, channel: str) -> None:
        count = self.failures[channel] = self.failures.get(channel, 0) + 1
        self.until[channel] = self.now() + min(FIRST_PAUSE_SECONDS * 2.0 ** (count - 1), LONGEST_PAUSE_SECONDS)


PAUSES = Pauses()


def send_pending(engine: Engine, settings: Alarms, pauses: Pauses = PAUSES) -> int:
    """Send what has not been sent by every configured channel. Returns how many now were.

    Each channel for itself: one that is down keeps nothing from the others and is tried again, later and later.
    """
    with reading(engine) as session:
        pending = session.scalars(select(Alarm).where(Alarm.sent_at.is_(None)).order_by(Alarm.id)).all()
    return sum(_send(engine, alarm, settings, pauses) for alarm in pending)


def _send(engine: Engine, alarm: Alarm, settings: Alarms, pauses: Pauses) -> bool:
    if alarm.attempts == 0:
        log().error("alarm", kind=alarm.kind, alarm=alarm.id, message=alarm.message)
    ways = channels(settings)
    with reading(engine) as session:
        told = {name for name in ways if session.get(Setting, told_key(alarm, name))}
    open_ways = [name for name in ways if name not in told and pauses.over(name)]
    if alarm.attempts and ways.keys() - told and not open_ways:
        return False
    told |= {name for name in open_ways if tell(name, ways[name], alarm, pauses)}
    done = told == ways.keys()
    with writing(engine) as session:
        row = session.get_one(Alarm, alarm.id)
        row.attempts += 1
        row.sent_at = alarm.at if done else None
        for name in ways:
            key = told_key(alarm, name)
            if done:
                session.execute(delete(Setting).where(Setting.key == key))
            elif name in told:
                session.merge(Setting(key=key, value="told"))
    return done


def tell(name: str, channel: Notify, alarm: Alarm, pauses: Pauses) -> bool:
    """Whether the channel took the alarm. Where not, the log says why and the channel has a pause."""
    try:
        channel(alarm)
    except (OSError, smtplib.SMTPException, HTTPException) as error:
        pauses.failed(name)
        reason = type(error).__name__
        log().warning("an alarm could not be sent; it is tried again", alarm=alarm.id, channel=name, error=reason)
        return False
    pauses.succeeded(name)
    return True


def told_key(alarm: Alarm, channel: str) -> str:
    """Where the ledger remembers that a channel has an alarm which another one lacks."""
    return f"alarm:{alarm.id}:{channel}"


def channels(settings: Alarms) -> dict[str, Notify]:
    """The ways out that are configured."""
    webhook, mail = settings.webhook, settings.mail
    ways: dict[str, Notify] = {}
    if webhook is not None:
        ways["webhook"] = lambda alarm: post(webhook, alarm)
    if mail is not None:
        ways["mail"] = lambda alarm: write_mail(mail, alarm)
    return ways


def post(url: str, alarm: Alarm) -> None:
    """POST the alarm as JSON. Raises OSError or HTTPException if it is not accepted within TIMEOUT_SECONDS."""
    body = json.dumps({"kind": alarm.kind, "at": alarm.at, "message": alarm.message, "id": alarm.id}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - http(s) by config
    urlopen(request, TIMEOUT_SECONDS)


def write_mail(mail: Mail, alarm: Alarm) -> None:
    """Send the alarm as a mail. Raises OSError or SMTPException if it is not taken within TIMEOUT_SECONDS."""
    message = EmailMessage()
    message["Subject"] = f"rtseg-daemon: {alarm.kind}"
    message["From"], message["To"] = mail.sender, ", ".join(mail.to)
    message.set_content(alarm.message)
    with smtplib.SMTP(timeout=TIMEOUT_SECONDS) as server, cut_off_after(TIMEOUT_SECONDS, lambda: server.sock):
        server.connect(mail.server, mail.port)
        server.send_message(message)
