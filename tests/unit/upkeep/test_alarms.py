"""Alarms on their way: each channel for itself, until it has taken them or somebody has seen them."""

from collections.abc import Callable
from http.client import BadStatusLine
from urllib.error import HTTPError

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.sections import Alarms
from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of, raise_alarm
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.seen_alarms import acknowledge, all_alarms
from rtseg_daemon.upkeep import alarms
from rtseg_daemon.upkeep.channels import AlarmChannel

BOTH = Alarms.model_validate({"webhook": "http://127.0.0.1:9/hook", "mail": "physics@example.org"})
Send = Callable[[Alarm], str]


def ways(monkeypatch: pytest.MonkeyPatch, **sends: Send) -> None:
    """Channels of these names that do what the test says."""
    found = {name: AlarmChannel(name, f"{name}.example", send) for name, send in sends.items()}
    monkeypatch.setattr(alarms, "channels", lambda _settings: found)


def refuse(_alarm: Alarm) -> str:
    raise HTTPError("http://hook.example/token", 503, "Service Unavailable", None, None)  # type: ignore[arg-type]


def nonsense(_alarm: Alarm) -> str:
    raise BadStatusLine("nonsense")


def raised(ledger: Engine, *messages: str) -> None:
    with writing(ledger) as session:
        for message in messages:
            raise_alarm(session, "late", message, message, at=1000.0)


def test_an_alarm_is_sent_once_and_again_until_it_is_taken(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def down_once(alarm: Alarm) -> str:
        told.append(alarm.message)
        return refuse(alarm) if len(told) == 1 else "HTTP 204"

    ways(monkeypatch, webhook=down_once)
    raised(ledger, "series 1")
    seconds = iter([0.0, 0.0, 1.0, 6.0])
    pauses = alarms.Pauses(now=lambda: next(seconds))
    assert [alarms.send_pending(ledger, BOTH, pauses) for _ in range(4)] == [0, 0, 1, 0]
    assert told == ["series 1", "series 1"]


def test_a_channel_that_is_down_keeps_nothing_from_the_other(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    mailed: list[str] = []
    ways(monkeypatch, webhook=nonsense, mail=lambda alarm: mailed.append(alarm.message) or "taken")
    raised(ledger, "series 0", "series 1")
    pauses = alarms.Pauses(now=lambda: 0.0)
    assert [alarms.send_pending(ledger, BOTH, pauses) for _ in range(2)] == [0, 0]
    assert mailed == ["series 0", "series 1"]
    assert pauses.failures == {"webhook": 1, "mail": 0}
    ways(monkeypatch, webhook=lambda _alarm: "HTTP 204", mail=lambda alarm: mailed.append(alarm.message) or "taken")
    pauses.now = lambda: 3600.0
    assert alarms.send_pending(ledger, BOTH, pauses) == 2
    assert mailed == ["series 0", "series 1"]


def test_the_http_code_and_the_host_stand_in_the_log_and_in_the_list_and_the_url_does_not(
    ledger: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ways(monkeypatch, webhook=refuse)
    raised(ledger, "series 1")
    alarms.send_pending(ledger, BOTH, alarms.Pauses())
    logged = capsys.readouterr().out + capsys.readouterr().err
    with reading(ledger) as session:
        (alarm,) = all_alarms(session)
        shape = views.alarm_shape(alarm)
    assert shape["error"] == "webhook webhook.example: HTTP 503 Service Unavailable"
    assert shape["error"] in logged
    assert "token" not in logged
    assert (shape["at"], shape["sent_at"]) == ("1970-01-01T00:16:40.000Z", None)


def test_what_somebody_has_seen_is_sent_no_more_and_who_and_when_is_in_its_events(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways(monkeypatch, webhook=refuse)
    raised(ledger, "series 1")
    alarms.send_pending(ledger, BOTH, alarms.Pauses())
    with writing(ledger) as session:
        acknowledge(session, 1, "anna", "hook is being mended", at=2000.0)
    told: list[str] = []
    ways(monkeypatch, webhook=lambda alarm: told.append(alarm.message) or "taken")
    assert alarms.send_pending(ledger, BOTH, alarms.Pauses()) == 0
    assert told == []
    with reading(ledger) as session:
        (event,) = events_of(session, "alarm", 1)
        assert (event.what, event.who, event.at, event.detail) == (
            "acknowledged", "anna", 2000.0, {"why": "hook is being mended"},
        )  # fmt: skip
        assert all_alarms(session) == []
        assert [alarm.acknowledged_by for alarm in all_alarms(session, seen=True)] == ["anna"]
        with pytest.raises(StateError, match="alarm 1 was acknowledged by anna"):
            acknowledge(session, 1, "bert")
        with pytest.raises(StateError, match="there is no alarm 7"):
            acknowledge(session, 7, "bert")
