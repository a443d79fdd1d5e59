"""Alarms without a ledger, and limits on how long a channel may take."""

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtseg_daemon.config.sections import Alarms
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.upkeep import alarms, channels
from rtseg_daemon.upkeep.deadline import urlopen
from rtseg_daemon.upkeep.direct import DirectAlarms
from tests.world import wait_for


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a webhook was told."""
    told: list[str] = []
    monkeypatch.setattr(channels, "post", lambda _url, alarm: told.append(alarm.message) or "HTTP 204")
    return told


def direct(folder: Path) -> DirectAlarms:
    return DirectAlarms(Alarms(webhook="http://127.0.0.1:9/hook"), folder)


def test_an_alarm_is_sent_without_a_ledger_and_once_a_day(tmp_path: Path, posted: list[str]) -> None:
    outcry = direct(tmp_path)
    for _ in range(3):
        outcry.tell("ledger", "k", "the ledger is gone")
        outcry.wait(10)
    assert posted == ["the ledger is gone"]


def test_a_daemon_that_is_started_again_and_again_does_not_repeat_itself(tmp_path: Path, posted: list[str]) -> None:
    for _ in range(3):
        outcry = direct(tmp_path)
        outcry.tell("ledger", "k", "the ledger is gone")
        outcry.wait(10)
    assert posted == ["the ledger is gone"]


def test_an_alarm_is_sent_although_the_storage_takes_no_writes(tmp_path: Path, posted: list[str]) -> None:
    outcry = direct(tmp_path / "no" / "such")
    (tmp_path / "no").write_text("a file where a folder should be")
    outcry.tell("ledger", "k", "read-only")
    outcry.wait(10)
    assert posted == ["read-only"]


def test_a_channel_that_is_down_is_tried_again_without_a_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def down_once(_url: str, alarm: Alarm) -> str:
        told.append(alarm.message)
        if len(told) == 1:
            raise OSError("down")
        return "HTTP 204"

    monkeypatch.setattr(channels, "post", down_once)
    monkeypatch.setattr(alarms, "FIRST_PAUSE_SECONDS", 0.1)
    outcry = direct(tmp_path)
    outcry.tell("ledger", "k", "gone")
    outcry.wait(10)
    assert told == ["gone", "gone"]


@contextmanager
def trickling(first: bytes) -> Iterator[int]:
    """A server that sends `first`, then a byte every 0.1 s for ever; its port."""
    over = threading.Event()

    def trickle(peer: socket.socket) -> None:
        with peer:
            try:
                peer.sendall(first)
                while not over.wait(0.1):
                    peer.sendall(b"x")
            except OSError:
                return

    def serve(server: socket.socket) -> None:
        while not over.is_set():
            try:
                trickle(server.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        over.set()
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_a_webhook_that_trickles_is_cut_off_in_time() -> None:
    with trickling(b"HTTP/1.1 200") as port:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="not finished within 1 s"):
            urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/", b"{}"), 1.0)
        assert time.monotonic() - began < 5


def test_a_mail_server_that_trickles_is_cut_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "TIMEOUT_SECONDS", 1.0)
    with trickling(b"220 ") as port:
        mail = Alarms.model_validate({"mail": {"to": "a@example.org", "server": "127.0.0.1", "port": port}}).mail
        assert mail is not None
        began = time.monotonic()
        with pytest.raises(OSError, match=r"not finished within 1 s|Connection unexpectedly closed"):
            channels.write_mail(mail, Alarm(kind="late", at=0.0, key="k", message="x"))
        assert time.monotonic() - began < 5
    wait_for(lambda: not any(thread.name == "deadline" for thread in threading.enumerate()), 10)
