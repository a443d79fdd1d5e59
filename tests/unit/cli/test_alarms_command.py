"""`alarms list`, `ack`, `test`, and what `status` says of alarms that did not get out."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rtseg_daemon.config.file import load_config
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.upkeep import alarms
from rtseg_daemon.upkeep.channels import PASSWORD_VARIABLE
from tests.mail import MailServer
from tests.unit.cli.test_commands import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    desk = Desk(tmp_path, monkeypatch, capsys)
    yield desk
    desk.ledger.dispose()


def configure(desk: Desk, **section: object) -> None:
    document = yaml.safe_load(desk.config.read_text()) | {"alarms": section}
    desk.config.write_text(yaml.safe_dump(document))


def gone_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port: int = nobody.getsockname()[1]
        return port


def raised(desk: Desk, *messages: str) -> None:
    with writing(desk.ledger) as session:
        for message in messages:
            raise_alarm(session, "late", message, message, at=1000.0)


def test_alarms_are_listed_as_a_table_and_as_json(desk: Desk) -> None:
    raised(desk, "series 1: contours are late", "series 2: contours are late")
    listed = desk.ask("alarms", "list")
    assert [alarm["id"] for alarm in listed] == [2, 1]
    assert set(listed[0]) == {
        "id", "kind", "at", "message", "sent_at", "attempts", "error", "acknowledged_at", "acknowledged_by",
    }  # fmt: skip
    assert listed[0]["at"] == "1970-01-01T00:16:40.000Z"
    table = desk.run("alarms", "list")[1]
    assert "series 2: contours are late" in table
    assert "1970-01-01 00:16:40Z" in table
    assert len(desk.ask("alarms", "list", "--limit", "1")) == 1


def test_an_acknowledgement_says_who_and_leaves_the_list(desk: Desk) -> None:
    raised(desk, "a", "b", "c")
    seen = desk.ask("alarms", "ack", "1", "3", "--why", "PACS restarted")
    assert [alarm["id"] for alarm in seen] == [1, 3]
    assert all(alarm["acknowledged_by"] and alarm["acknowledged_at"] for alarm in seen)
    assert [alarm["id"] for alarm in desk.ask("alarms", "list")] == [2]
    assert len(desk.ask("alarms", "list", "--all")) == 3
    status, _, err = desk.run("alarms", "ack", "1")
    assert (status, "was acknowledged by" in err) == (1, True)
    assert desk.run("alarms", "ack", "9")[0] == 1


def test_a_test_alarm_goes_through_every_channel_and_says_what_each_answered(desk: Desk) -> None:
    port = gone_port()
    with MailServer().running() as server:
        mail = {"to": ["physics@example.org"], "server": "127.0.0.1", "port": server.port}
        configure(desk, webhook=f"http://127.0.0.1:{port}/hook", mail=mail)
        status, out, _ = desk.run("alarms", "test", "--json")
        table = desk.run("alarms", "test")[1]
    hook, letter = json.loads(out)
    assert status == 1
    assert (hook["channel"], hook["host"], hook["ok"], hook["answer"]) == (
        "webhook", "127.0.0.1", False, "Connection refused",
    )  # fmt: skip
    assert (letter["channel"], letter["ok"], letter["answer"]) == ("mail", True, "taken by the mail server")
    assert "this is a test by " in server.letters[0].get_content()
    assert "taken by the mail server" in table
    assert desk.ask("alarms", "list", "--all") == [], "a test is no alarm of the ledger"


def test_a_test_with_every_channel_well_is_0_and_without_any_is_1(desk: Desk) -> None:
    with MailServer().running() as server:
        configure(desk, mail={"to": ["a@example.org"], "server": "127.0.0.1", "port": server.port})
        assert desk.run("alarms", "test")[0] == 0
    configure(desk)
    status, _, err = desk.run("alarms", "test")
    assert (status, "set alarms.webhook or alarms.mail" in err) == (1, True)


def test_a_test_says_that_a_password_is_missing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    configure(desk, mail={"to": ["a@example.org"], "security": "tls", "user": "rtseg"})
    status, out, _ = desk.run("alarms", "test", "--json")
    assert status == 1
    assert "no password for rtseg" in json.loads(out)[0]["answer"]
    assert "no password for rtseg" in desk.run("config", "check")[2]


def test_alarms_that_were_not_sent_are_shown_in_status_with_the_reason(desk: Desk) -> None:
    configure(desk, webhook=f"http://127.0.0.1:{gone_port()}/hook")
    raised(desk, "series 1: contours are late")
    shape = desk.ask("status")
    assert (shape["unsent_alarms"], shape["unacknowledged_alarms"], shape["unsent_alarms_error"]) == (1, 1, None)
    alarms.send_pending(desk.ledger, load_config(desk.config).alarms, alarms.Pauses())
    desk.capsys.readouterr()
    shape = desk.ask("status")
    assert shape["unsent_alarms_error"] == "webhook 127.0.0.1: Connection refused"
    (problem,) = [one for one in shape["problems"] if "alarm" in one]
    assert problem == (
        "1 alarm was not sent yet (webhook 127.0.0.1: Connection refused); mend that, and see with: "
        "rtseg-daemon alarms test"
    )
    printed = desk.run("status")[1]
    assert "1 not acknowledged, 1 not sent" in printed
    desk.ask("alarms", "ack", "1")
    assert desk.ask("status")["unsent_alarms"] == 0
