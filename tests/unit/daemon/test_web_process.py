"""The dashboard's process: it answers, ends on SIGTERM, and its death touches nobody else."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
import yaml

from tests.dashboard import make_place
from tests.world import ROOT, free_port, wait_for


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A configuration with a dashboard on a free port, and an empty ledger."""
    make_place(tmp_path, port=free_port())
    return tmp_path / "config.yaml"


def port_of(config_file: Path) -> int:
    return int(yaml.safe_load(config_file.read_text())["web"]["port"])


def status_of(port: int, path: str) -> int:
    """The status of a page, 0 where nobody answers."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except URLError:
        return 0


def start(config_file: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "rtseg_daemon.daemon.web", "--config", str(config_file)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)


def test_the_process_answers_and_ends_on_sigterm(config_file: Path) -> None:
    process = start(config_file)
    try:
        wait_for(lambda: status_of(port_of(config_file), "/login") == 200, 60)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_process_ends_with_its_supervisor(config_file: Path) -> None:
    process = start(config_file)
    try:
        wait_for(lambda: status_of(port_of(config_file), "/login") == 200, 60)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_a_port_that_is_taken_is_named(config_file: Path) -> None:
    with socket.create_server(("127.0.0.1", port_of(config_file))):
        process = start(config_file)
        assert process.wait(60) == 1
    _, told = process.communicate()
    assert f"cannot listen on 127.0.0.1:{port_of(config_file)}" in told.decode()


def test_the_process_loads_no_network_and_stays_small(config_file: Path) -> None:
    process = start(config_file)
    try:
        wait_for(lambda: status_of(port_of(config_file), "/login") == 200, 60)
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not any(name in maps for name in ("torch", "openvino", "SimpleITK"))
        rss_pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        assert rss_pages * os.sysconf("SC_PAGESIZE") < 200e6
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
