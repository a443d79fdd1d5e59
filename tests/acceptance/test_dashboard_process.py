"""`serve` with its dashboard: the one-time link, and a death that touches no reception."""

import os
import re
import signal
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.world import Daemon, free_port, patient, send, wait_for, write_config


def page(address: str) -> str:
    """What is there, empty where nobody answers."""
    try:
        with urlopen(address, timeout=5) as answer:
            return str(answer.read().decode())
    except URLError:
        return ""


def test_the_dashboard_may_die_while_images_are_received(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, 1, web={"enabled": True, "port": port}, routes=[])
    daemon = Daemon(config, tmp_path / "log").start()
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: "Log in" in page(f"{address}/login"), 60, daemon.tail)
        link = re.search(rf"{address}/first/\S+", daemon.log.read_text())
        assert link is not None
        assert "The first account" in page(link[0])
        before = daemon.pid("web")
        os.kill(before, signal.SIGKILL)
        assert set(send(daemon.port, patient(tmp_path / "ct"))) == {0}
        wait_for(lambda: daemon.pids()["web"] not in (None, before), 60, daemon.tail)
        wait_for(lambda: "Log in" in page(f"{address}/login"), 60, daemon.tail)
        assert page(f"{address}/healthz").startswith('{"ok":true')
    finally:
        assert daemon.stop() == 0
