"""Alarms: raised for what is late, sent by every channel, each for itself."""

import json
import threading
from collections.abc import Iterator
from http.client import BadStatusLine
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.sections import Alarms
from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.schema import Alarm, Series
from rtseg_daemon.ledger.states import SeriesState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import alarms
from tests.unit.upkeep.test_housekeeping import NOW, OLD, deliver, stored_job, stored_series


def messages(ledger: Engine) -> list[str]:
    with reading(ledger) as session:
        return [alarm.message for alarm in session.query(Alarm)]


def test_contours_that_are_late_raise_one_alarm(ledger: Engine, layout: Layout) -> None:
    job = stored_job(ledger, layout, stored_series(ledger, layout))
    assert alarms.raise_late(ledger, 1800, OLD + 1700) == 0
    assert alarms.raise_late(ledger, 1800, OLD + 1900) == 1
    assert alarms.raise_late(ledger, 1800, OLD + 2000) == 0
    assert messages(ledger) == [f"series 1: contours are late, job {job} is SEGMENTED"]


def test_a_series_that_was_sent_again_and_is_late_again_is_told_again(ledger: Engine, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    stored_job(ledger, layout, series)
    assert alarms.raise_late(ledger, 1800, OLD + 1900) == 1
    with writing(ledger) as session:
        session.get_one(Series, series).last_received_at = OLD + 2000
    assert alarms.raise_late(ledger, 1800, OLD + 3700) == 0
    assert alarms.raise_late(ledger, 1800, OLD + 3900) == 1


def test_delivered_contours_and_series_that_nobody_wants_are_never_late(ledger: Engine, layout: Layout) -> None:
    deliver(ledger, stored_job(ledger, layout, stored_series(ledger, layout, 1)))
    series = stored_series(ledger, layout, 2)
    with writing(ledger) as session:
        session.get_one(Series, series).state = SeriesState.UNROUTED
    assert alarms.raise_late(ledger, 1800, NOW) == 0


def test_a_look_without_sending_does_not_count_as_contours(ledger: Engine, layout: Layout) -> None:
    job = stored_job(ledger, layout, stored_series(ledger, layout))
    with writing(ledger) as session:
        look = decisions.rerun(session, job, "anna", no_send=True)
        jobs.claim_job(session, "w")
        jobs.finish_segmentation(session, look.id, "w", jobs.Outcome("digest", []), [])
    assert alarms.raise_late(ledger, 1800, OLD + 1900) == 1


def test_a_series_that_never_became_a_job_is_late_too(ledger: Engine, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    with writing(ledger) as session:
        session.get_one(Series, series).state = SeriesState.OPEN
    alarms.raise_late(ledger, 1800, NOW)
    assert messages(ledger) == ["series 1: contours are late, the series is OPEN and has no job"]


class Hook(BaseHTTPRequestHandler):
    """A webhook that refuses the first call."""

    bodies: list[dict[str, Any]] = []
    refuse = 1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Hook.refuse:
            Hook.refuse -= 1
            self.send_response(500)
        else:
            Hook.bodies.append(body)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[str]:
    Hook.bodies, Hook.refuse = [], 1
    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_alarm_is_posted_again_until_it_is_taken_and_then_no_more(ledger: Engine, webhook: str) -> None:
    with writing(ledger) as session:
        raise_alarm(session, "late", "late:1:1", "series 1: contours are late", at=OLD)
        assert not raise_alarm(session, "late", "late:1:1", "again")
    settings, seconds = Alarms(webhook=webhook), iter([0.0, 0.0, 1.0, 6.0])
    pauses = alarms.Pauses(now=lambda: next(seconds))
    assert [alarms.send_pending(ledger, settings, pauses) for _ in range(4)] == [0, 0, 1, 0]
    assert [body["message"] for body in Hook.bodies] == ["series 1: contours are late"]


def test_a_channel_that_is_down_keeps_nothing_from_the_other(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    mailed: list[str] = []

    def refuse(_url: str, _alarm: Any) -> None:
        raise BadStatusLine("nonsense")

    monkeypatch.setattr(alarms, "post", refuse)
    monkeypatch.setattr(alarms, "write_mail", lambda _mail, alarm: mailed.append(alarm.message))
    with writing(ledger) as session:
        for k in range(2):
            raise_alarm(session, "late", f"k{k}", f"series {k}")
    settings = Alarms.model_validate({"webhook": "http://127.0.0.1:9/hook", "mail": "physics@example.org"})
    pauses = alarms.Pauses(now=lambda: 0.0)
    assert [alarms.send_pending(ledger, settings, pauses) for _ in range(2)] == [0, 0]
    assert mailed == ["series 0", "series 1"]
    assert pauses.failures == {"webhook": 1, "mail": 0}
    monkeypatch.setattr(alarms, "post", lambda _url, _alarm: None)
    pauses.now = lambda: 3600.0
    assert alarms.send_pending(ledger, settings, pauses) == 2
    assert mailed == ["series 0", "series 1"]


def test_a_mail_says_what_the_alarm_says(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Server:
        def __init__(self, **_options: Any) -> None:
            pass

        def connect(self, *address: Any) -> None:
            sent.append(address)

        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *_error: object) -> None:
            pass

        def send_message(self, message: Any) -> None:
            sent.append(message)

    monkeypatch.setattr(alarms.smtplib, "SMTP", Server)
    with writing(ledger) as session:
        raise_alarm(session, "late", "k", "series 1: contours are late")
    assert alarms.send_pending(ledger, Alarms.model_validate({"mail": "physics@example.org"})) == 1
    assert sent[0] == ("localhost", 25)
    assert (sent[1]["To"], sent[1].get_content()) == ("physics@example.org", "series 1: contours are late\n")
