"""The ways by which an alarm reaches a person: a web hook and a mail server, each with what it answered."""

import contextlib
import hashlib
import json
import os
import smtplib
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit

from rtseg_daemon.config.sections import Alarms, Mail
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.views import moment
from rtseg_daemon.upkeep.deadline import cut_off_after, urlopen

TIMEOUT_SECONDS = 10.0
"""For one attempt on one channel, from its first byte to its last."""
PASSWORD_VARIABLE = "RTSEG_MAIL_PASSWORD"  # noqa: S105 - the name of a variable
LONGEST_WORDS = 200
FAILURES = (OSError, smtplib.SMTPException, HTTPException, ConfigError)
"""What `AlarmChannel.send` raises if an alarm was not taken."""


@dataclass(frozen=True)
class AlarmChannel:
    """One way out. `send` returns what the other side answered. Raises one of FAILURES if it did not take the alarm."""

    name: str
    host: str
    send: Callable[[Alarm], str]


def channels(settings: Alarms) -> dict[str, AlarmChannel]:
    """The ways out that are configured, by name."""
    webhook, mail = settings.webhook, settings.mail
    ways: list[AlarmChannel] = []
    if webhook is not None:
        ways.append(AlarmChannel("webhook", urlsplit(webhook).hostname or "", lambda alarm: post(webhook, alarm)))
    if mail is not None:
        ways.append(AlarmChannel("mail", mail.server, lambda alarm: write_mail(mail, alarm)))
    return {way.name: way for way in ways}


def post(url: str, alarm: Alarm) -> str:
    """POST the alarm as JSON. Raises OSError or HTTPException if it is not accepted within TIMEOUT_SECONDS."""
    document = {
        "kind": alarm.kind,
        "at": moment(alarm.at),
        "message": alarm.message,
        "id": alarm.id,
        "host": socket.gethostname(),
    }
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)  # noqa: S310 - http(s) by config
    return f"HTTP {urlopen(request, TIMEOUT_SECONDS)}"


def write_mail(mail: Mail, alarm: Alarm) -> str:
    """Send the alarm as a mail. Raises OSError, SMTPException or ConfigError if it is not taken in TIMEOUT_SECONDS."""
    secret = password(mail)
    context = ssl.create_default_context(cafile=str(mail.ca) if mail.ca else None)
    client = connection(mail, context)
    with cut_off_after(TIMEOUT_SECONDS, lambda: client.sock), contextlib.closing(client):
        client.connect(mail.server, mail.port)
        if mail.security == "starttls":
            client.starttls(context=context)
        if mail.user is not None and secret is not None:
            client.login(mail.user, secret)
        client.send_message(letter(mail, alarm))
        with contextlib.suppress(OSError, smtplib.SMTPException):
            client.quit()  # the mail is taken, whatever is answered now
    return "taken by the mail server"


def connection(mail: Mail, context: ssl.SSLContext) -> smtplib.SMTP:
    """A client that is not connected yet. It greets by a name that no name service has to be asked for."""
    ours = socket.gethostname()
    greeting = ours if "." in ours else "[127.0.0.1]"
    client: smtplib.SMTP
    if mail.security == "tls":
        client = smtplib.SMTP_SSL(timeout=TIMEOUT_SECONDS, local_hostname=greeting, context=context)
    else:
        client = smtplib.SMTP(timeout=TIMEOUT_SECONDS, local_hostname=greeting)
    # whom TLS must name; else only a constructor that connects at once sets it
    client._host = mail.server  # type: ignore[attr-defined]
    return client


def letter(mail: Mail, alarm: Alarm) -> EmailMessage:
    """The mail. Sent again after a failure it has the same Message-ID, so that it is kept once."""
    host = socket.gethostname()
    same = hashlib.sha256(f"{host} {alarm.key} {alarm.at}".encode()).hexdigest()[:32]
    message = EmailMessage()
    message["Subject"] = f"rtseg-daemon on {host}: {alarm.kind}"
    message["From"], message["To"] = mail.sender, ", ".join(mail.to)
    message["Date"] = formatdate(time.time(), localtime=True)
    message["Message-ID"] = f"<{same}@{mail.sender.rpartition('@')[2] or 'localhost'}>"
    message["Auto-Submitted"] = "auto-generated"
    number = "" if alarm.id is None else f"Seen: rtseg-daemon alarms ack {alarm.id}\n"
    message.set_content(f"{alarm.message}\n\nKind: {alarm.kind}\nAt: {moment(alarm.at)}\nHost: {host}\n{number}")
    return message


def password(mail: Mail) -> str | None:
    """The password of `user`. None where there is no login. Raises ConfigError where it is not to be had."""
    if mail.user is None:
        return None
    if mail.password_file is None:
        if found := os.environ.get(PASSWORD_VARIABLE):
            return found
        raise ConfigError(
            f"alarms.mail: no password for {mail.user}; name a password_file, or set {PASSWORD_VARIABLE} in the "
            "environment of this process"
        )
    try:
        mode, text = mail.password_file.stat().st_mode, mail.password_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"alarms.mail.password_file: {mail.password_file} cannot be read ({why})") from error
    if mode & 0o007:
        raise ConfigError(f"alarms.mail.password_file: everybody may read {mail.password_file}; chmod 600 it")
    if not text.strip():
        raise ConfigError(f"alarms.mail.password_file: {mail.password_file} is empty")
    return text.splitlines()[0].strip()


def check(settings: Alarms) -> None:
    """Raise ConfigError where a channel cannot work as it is configured."""
    if settings.mail is not None:
        password(settings.mail)
        if settings.mail.ca is not None and not settings.mail.ca.is_file():
            raise ConfigError(f"alarms.mail.ca: {settings.mail.ca} is not there")


def failure(channel: AlarmChannel, error: Exception) -> str:
    """Why an alarm was not taken, with the host and the code that it answered."""
    return f"{channel.name} {channel.host}: {words(error)}"


def words(error: Exception) -> str:
    """What a server answered, or what kept us from it: a code where there is one."""
    if isinstance(error, HTTPError):
        found = f"HTTP {error.code} {error.reason}"
    elif isinstance(error, smtplib.SMTPResponseException):
        found = f"SMTP {error.smtp_code} {plain(error.smtp_error)}"
    elif isinstance(error, smtplib.SMTPRecipientsRefused):
        found = "; ".join(f"SMTP {code} {plain(said)}" for code, said in error.recipients.values())
    elif isinstance(error, ssl.SSLCertVerificationError):
        found = f"its certificate does not count: {error.verify_message}"
    else:
        reason = getattr(error, "reason", None)  # urllib wraps what happened below it
        inner = reason if isinstance(reason, Exception) else error
        found = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return "".join(letter if letter.isprintable() else " " for letter in found)[:LONGEST_WORDS]


def plain(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
