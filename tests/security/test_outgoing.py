"""Nothing is connected to that the configuration does not name: the system calls of whole commands are read."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from rtseg_daemon.config.file import Config, models_in
from rtseg_daemon.demo.phantom import make_phantom, write_series
from tests.peers import program
from tests.tiny import make_bundle

CONNECT = re.compile(
    r"(?:connect|sendto|sendmsg)\(.*sin6?_port=htons\((\d+)\)"  # the port, then the address of IPv4 or of IPv6
    r".*?(?:inet_addr\(|, )\"([0-9a-fA-F.:]+)\""
)
LOOPBACK = re.compile(r"127\.|::1$|::ffff:127\.|::$|0\.0\.0\.0$")


def outgoing(trace: Path) -> list[str]:
    """Addresses beyond this machine that were connected or sent to, questions to a name server among them."""
    found = [match.groups() for line in trace.read_text().splitlines() if (match := CONNECT.search(line))]
    return [f"{address}:{port}" for port, address in found if not LOOPBACK.match(address) or port == "53"]


def traced(folder: Path, *command: str) -> Path:
    """Run a command under strace as an ordinary machine would run it; returns the trace of its network calls."""
    strace = program("strace")
    if subprocess.run([strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace has no right to trace here")
    trace = folder / "trace"
    home = folder / "home"
    home.mkdir()
    # libraries that count their users leave machines of CI alone
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    tracing = [strace, "-f", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
    done = subprocess.run([*tracing, *command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return trace


@pytest.mark.peers
def test_the_trace_shows_a_connection_to_somewhere_else(tmp_path: Path) -> None:
    """The test's own eyes: an address reserved for documentation (RFC 5737), by a socket that sends nothing."""
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    assert outgoing(traced(tmp_path, sys.executable, "-c", code)) == ["192.0.2.1:9"]


@pytest.mark.peers
def test_segment_connects_to_nobody_even_when_it_converts_a_model(tmp_path: Path) -> None:
    ct, _ = make_phantom(1, matrix=128)
    write_series(ct, tmp_path / "ct", 1)
    make_bundle(tmp_path / "models")
    document = {"models": {"directory": str(tmp_path / "models")}, "storage": {"directory": str(tmp_path / "storage")}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    words = ["segment", str(tmp_path / "ct"), "--out", str(tmp_path / "rs.dcm"), "--bundle", "tiny", "--force"]
    trace = traced(tmp_path, sys.executable, "-m", "rtseg_daemon", *words, "--config", str(tmp_path / "config.yaml"))
    assert (tmp_path / "rs.dcm").exists()
    assert outgoing(trace) == []


@pytest.mark.peers
def test_demo_connects_to_nobody(tmp_path: Path) -> None:
    trace = traced(tmp_path, sys.executable, "-m", "rtseg_daemon", "demo", "--out", str(tmp_path / "demo"))
    assert list((tmp_path / "demo").rglob("RTSTRUCT.dcm"))
    assert outgoing(trace) == []


ROOT = Path(__file__).parents[2]
OPENING = re.compile(
    r"create_connection\(|sock\.connect\(|\.open\(request|client\.connect\(|create_engine\(|[^.\w]connected\(|httpx\.Client\("
    r"|insecure_channel\(|ray\.init\("
)
"""How a connection is opened in this code: sockets, urllib, smtplib, SQLAlchemy, Ray, and our own `line.connected`."""

LISTED = {
    "dicom/line.py": "destinations",
    "dicom/association.py": "query",
    "dicom/probe.py": "destinations",
    "upkeep/certificates.py": "query",
    "upkeep/deadline.py": "alarms.webhook",
    "upkeep/channels.py": "alarms.mail",
    "upkeep/audit_trail.py": "audit.syslog",
    "ledger/engine.py": "database.url",
    "cluster/exchange.py": "cluster",
    "cluster/ray_line.py": "compute.cluster",
    "cluster/ray_probe.py": "compute.cluster",
    "cluster/ray_process.py": "compute.cluster",
}
"""Module that opens connections -> the key under which docs/security.md lists them."""


def connections() -> str:
    """The section of docs/security.md that lists them."""
    page = (ROOT / "docs" / "security.md").read_text()
    return page.split("## Connections that the daemon makes")[1].split("## ")[0]


def test_whatever_opens_a_connection_is_listed_in_docs_security() -> None:
    found = {
        str(path.relative_to(ROOT / "rtseg_daemon"))
        for path in (ROOT / "rtseg_daemon").rglob("*.py")
        if OPENING.search(re.sub(r"def connected\(", "", path.read_text()))
    }
    assert found == set(LISTED)
    section = connections()
    assert all(f"`{key}`" in section for key in LISTED.values())


def hosts(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Every key of the configuration that names another machine."""
    for name, field in model.model_fields.items():
        key = f"{path}.{name}" if path else name
        for inner in models_in(field.annotation):
            yield from hosts(inner, key)
        if name in ("host", "server", "webhook", "url") or key == "compute.cluster":
            yield key


def test_every_key_that_names_another_machine_is_listed_in_docs_security() -> None:
    section = connections()
    ours = {"web.host", "cluster.host"}  # where we listen ourselves
    missing = [
        key
        for key in set(hosts(Config)) - ours
        if not any(f"`{known}" in section for known in (key, key.rpartition(".")[0]))
    ]
    assert missing == []
