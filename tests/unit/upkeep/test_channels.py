"""Web hook and mail as a server on loopback sees them, and what is said of one that does not take an alarm."""

import json
import smtplib
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rtseg_daemon.config.sections import Alarms, Mail
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.upkeep import channels
from rtseg_daemon.upkeep.channels import FAILURES, PASSWORD_VARIABLE, check, failure, write_mail
from tests.certificates import Authority, Pair
from tests.mail import MailServer

ALARM = Alarm(id=17, kind="late", at=1000.0, key="late:1:1", message="series 1: contours are late")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "ours")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("mail")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    return file


def mail_to(server: MailServer, authority: Authority | None = None, **more: Any) -> Mail:
    ca = {"ca": authority.certificate} if authority else {}
    host = {"to": "physics@example.org", "server": "127.0.0.1", "port": server.port, "sender": "rtseg@example.org"}
    return Mail.model_validate({**host, **ca, **more, "to": ("physics@example.org",)})


def why(send: Any) -> str:
    """What is said of a channel that does not take the alarm."""
    with pytest.raises(FAILURES) as failed:
        send()
    return channels.words(failed.value)


# --- mail -------------------------------------------------------------------------------------------------------------


def test_a_mail_has_date_message_id_host_and_times_in_iso(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.socket, "gethostname", lambda: "contours.example")
    with MailServer().running() as server:
        for _ in range(2):
            write_mail(mail_to(server), ALARM)
    first, again = server.letters
    assert first["Subject"] == "rtseg-daemon on contours.example: late"
    assert (first["From"], first["To"]) == ("rtseg@example.org", "physics@example.org")
    assert parsedate_to_datetime(first["Date"]).tzinfo is not None
    assert first["Message-ID"].endswith("@example.org>")
    assert first["Message-ID"] == again["Message-ID"], "sent again it is kept once"
    assert server.greetings == ["contours.example"] * 2
    assert first.get_content().splitlines() == [
        "series 1: contours are late",
        "",
        "Kind: late",
        "At: 1970-01-01T00:16:40.000Z",
        "Host: contours.example",
        "Seen: rtseg-daemon alarms ack 17",
    ]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_encrypted_and_with_a_login_whose_password_is_in_a_file(
    authority: Authority, pair: Pair, secret: Path, security: str
) -> None:
    server = MailServer(pair, {"rtseg": "hunter2"}, is_tls_at_once=security == "tls")
    with server.running():
        mail = mail_to(server, authority, security=security, user="rtseg", password_file=secret)
        assert write_mail(mail, ALARM) == "taken by the mail server"
    assert (server.encrypted, server.logins) == ([True], ["rtseg"])


def test_the_password_may_come_from_the_environment(
    authority: Authority, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter2")
    with MailServer(pair, {"rtseg": "hunter2"}).running() as server:
        write_mail(mail_to(server, authority, security="starttls", user="rtseg"), ALARM)
    assert server.logins == ["rtseg"]


def test_a_server_without_starttls_gets_neither_password_nor_mail(authority: Authority, secret: Path) -> None:
    with MailServer(users={"rtseg": "hunter2"}).running() as server:
        mail = mail_to(server, authority, security="starttls", user="rtseg", password_file=secret)
        with pytest.raises(smtplib.SMTPNotSupportedError):
            write_mail(mail, ALARM)
    assert (server.letters, server.logins) == ([], [])


def test_a_server_of_another_ca_gets_nothing(pair: Pair, secret: Path) -> None:
    with MailServer(pair, {"rtseg": "hunter2"}).running() as server:
        mail = mail_to(server, None, security="starttls", user="rtseg", password_file=secret)
        assert why(lambda: write_mail(mail, ALARM)).startswith("its certificate does not count: ")
    assert server.letters == []


def test_what_a_mail_server_answers_is_told_with_its_code(authority: Authority, pair: Pair, secret: Path) -> None:
    secret.write_text("wrong")
    with MailServer(pair, {"rtseg": "hunter2"}).running() as server:
        mail = mail_to(server, authority, security="starttls", user="rtseg", password_file=secret)
        assert why(lambda: write_mail(mail, ALARM)) == "SMTP 535 5.7.8 wrong password"
    with MailServer(refuse="550 no such person").running() as server:
        assert why(lambda: write_mail(mail_to(server), ALARM)) == "SMTP 550 no such person"


def test_a_mail_that_was_taken_counts_though_the_farewell_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(client: smtplib.SMTP) -> None:
        raise smtplib.SMTPServerDisconnected("gone")

    monkeypatch.setattr(smtplib.SMTP, "quit", hang_up)
    with MailServer().running() as server:
        write_mail(mail_to(server), ALARM)
    assert len(server.letters) == 1


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda file: file.unlink(), "cannot be read (No such file or directory)"),
        (lambda file: file.chmod(0o644), "everybody may read"),
        (lambda file: file.write_text(" \n"), "is empty"),
    ],
)
def test_a_password_file_that_cannot_serve_is_refused_with_its_name(secret: Path, prepare: Any, reason: str) -> None:
    prepare(secret)
    mail = {"to": "a@example.org", "security": "tls", "user": "rtseg", "password_file": secret}
    with pytest.raises(ConfigError, match=r"alarms\.mail\.password_file") as refused:
        check(Alarms.model_validate({"mail": mail}))
    assert reason in str(refused.value)
    assert str(secret) in str(refused.value)


def test_a_user_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    mail = {"to": "a@example.org", "security": "tls", "user": "rtseg"}
    with pytest.raises(ConfigError, match=f"no password for rtseg; name a password_file, or set {PASSWORD_VARIABLE}"):
        check(Alarms.model_validate({"mail": mail}))


# --- web hook ---------------------------------------------------------------------------------------------------------


class Hook(BaseHTTPRequestHandler):
    """A web hook that answers as `status` says."""

    bodies: list[dict[str, Any]] = []
    status = 204

    def do_POST(self) -> None:
        Hook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(Hook.status)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[str]:
    Hook.bodies, Hook.status = [], 204
    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook?token=s3cret"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_kind_message_host_and_the_time_in_iso(webhook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels.socket, "gethostname", lambda: "contours.example")
    channel = channels.channels(Alarms(webhook=webhook))["webhook"]
    assert channel.send(ALARM) == "HTTP 204"
    assert Hook.bodies == [
        {
            "kind": "late",
            "at": "1970-01-01T00:16:40.000Z",
            "message": "series 1: contours are late",
            "id": 17,
            "host": "contours.example",
        }
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_webhook_that_refuses_is_told_by_code_and_host_without_its_token(webhook: str) -> None:
    Hook.status = 503
    channel = channels.channels(Alarms(webhook=webhook))["webhook"]
    with pytest.raises(OSError, match="503") as failed:
        channel.send(ALARM)
    assert failure(channel, failed.value) == "webhook 127.0.0.1: HTTP 503 Service Unavailable"


def test_a_webhook_that_nobody_answers_is_told_in_words() -> None:
    channel = channels.channels(Alarms(webhook="http://127.0.0.1:9/hook"))["webhook"]
    assert why(lambda: channel.send(ALARM)) == "Connection refused"
