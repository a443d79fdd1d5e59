"""The running daemon, a ledger that is deleted under it, and a process that is frozen."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.world import Daemon, patient, send, wait_for, write_config

# pynetdicom leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address for alarms, and what was posted there."""
    posted: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_ledger_deleted_under_the_daemon_ends_acknowledging_raises_an_alarm_and_ends_without_a_traceback(
    tmp_path: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    address, posted = webhook
    config = write_config(tmp_path, 1, alarms={"webhook": address}, routes=[])
    daemon = Daemon(config, tmp_path / "daemon.log", module=["rtseg_daemon"]).start()
    assert daemon.process is not None
    files = patient(tmp_path / "ct")
    try:
        assert set(send(daemon.port, files[:3])) == {0x0000}
        for file in (tmp_path / "storage").glob("rtseg.db*"):
            file.unlink()
        assert set(send(daemon.port, files[3:6])) == {0xA700}
        assert daemon.process.wait(60) == 1
    finally:
        if daemon.process.poll() is None:
            daemon.stop()
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert "rtseg.db is gone while the daemon was using it" in log.splitlines()[-1]
    assert [alarm["kind"] for alarm in posted if "is gone" in alarm["message"]] == ["ledger"]
    again = daemon.command("serve")
    assert again.returncode == 1
    assert "there is no ledger" in again.stderr
    assert "Traceback" not in again.stderr
    assert not (tmp_path / "storage" / "rtseg.db").exists()
    wait_for(lambda: "there is no ledger" in posted[-1]["message"], 10)


def test_a_frozen_receiver_is_said_by_the_status_at_once(tmp_path: Path) -> None:
    """SIGSTOP; that it is killed and started again in the end is in tests/unit/daemon/test_signs_of_life.py."""
    daemon = Daemon(write_config(tmp_path, 1, routes=[]), tmp_path / "daemon.log", module=["rtseg_daemon"]).start()
    assert daemon.process is not None
    try:
        wait_for(lambda: daemon.command("status", "--check").returncode == 0, 60, daemon.tail)
        receiver = daemon.pid("receiver")
        os.kill(receiver, signal.SIGSTOP)
        said = daemon.command("status", "--check")
        assert said.returncode == 1
        assert "receiver is stopped by a signal" in " ".join(said.stdout.split())
        os.kill(receiver, signal.SIGCONT)
        wait_for(daemon.answers, 60, daemon.tail)
        wait_for(lambda: daemon.command("status", "--check").returncode == 0, 60, daemon.tail)
        assert daemon.pid("receiver") == receiver
    finally:
        daemon.stop()
