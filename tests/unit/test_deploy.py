"""What ships for operators agrees with the program."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rtseg_daemon.config.sections import Jobs

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = (
    "rtseg-daemon.service",
    "rtseg-metrics.service",
    "rtseg-metrics.timer",
    "rtseg-ray-head.service",
    "rtseg-ray-node.service",
)
OPERATION = DEPLOY.parent / "docs" / "operation.md"


def test_the_unit_leaves_the_daemon_time_to_drain() -> None:
    unit = (DEPLOY / "rtseg-daemon.service").read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(seconds) > Jobs().shutdown_seconds
    assert "KillMode=mixed" in unit


def test_the_unit_starts_after_the_clock_is_set() -> None:
    unit = (DEPLOY / "rtseg-daemon.service").read_text()
    (after,) = re.findall(r"^After=(.+)$", unit, re.MULTILINE)
    assert "time-sync.target" in after.split()


def test_compose_builds_from_the_dockerfile_and_leaves_time_to_drain() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["rtseg-daemon"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert int(service["stop_grace_period"].removesuffix("s")) > Jobs().shutdown_seconds


def test_everything_the_dockerfile_copies_is_in_the_repository() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (DEPLOY.parent / source).exists() or source == "LICENSE", source


def copy_metrics(source: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the very command of the unit, with other places."""
    unit = (DEPLOY / "rtseg-metrics.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    places = {"FROM": str(source), "TO": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(shlex.split(command), env=places, capture_output=True, text=True, timeout=20, check=False)


def test_the_metrics_timer_copies_the_file_whole_and_readable(tmp_path: Path) -> None:
    source, folder = tmp_path / "metrics.prom", tmp_path / "collected"
    source.write_text("rtseg_jobs 1\n")
    source.chmod(0o600)
    folder.mkdir()
    assert copy_metrics(source, folder).returncode == 0
    (made,) = folder.iterdir()
    assert (made.name, made.read_text(), made.stat().st_mode & 0o777) == ("rtseg.prom", "rtseg_jobs 1\n", 0o644)
    source.unlink()
    assert copy_metrics(source, folder).returncode != 0, "a daemon that never ran is seen"
    assert made.read_text() == "rtseg_jobs 1\n"


def test_the_metrics_timer_has_the_rights_of_the_service_user_and_no_more() -> None:
    unit = (DEPLOY / "rtseg-metrics.service").read_text()
    assert "User=rtseg" in unit
    assert "ReadWritePaths=/var/lib/prometheus/node-exporter" in unit
    assert "TO=/var/lib/prometheus/node-exporter" in unit
    assert "setfacl -m u:rtseg:rwx /var/lib/prometheus/node-exporter" in unit
    assert "setfacl -m u:rtseg:rwx /var/lib/prometheus/node-exporter" in OPERATION.read_text()


@pytest.mark.parametrize("unit", ["rtseg-ray-head.service", "rtseg-ray-node.service"])
def test_the_units_of_ray_start_it_as_the_docs_do(unit: str) -> None:
    text = (DEPLOY / unit).read_text().replace("\\\n", "")
    docs = (DEPLOY.parent / "docs" / "cluster.md").read_text()
    (command,) = re.findall(r"^ExecStart=/opt/rtseg/bin/(ray start .+)$", text, re.MULTILINE)
    options = [word for word in command.split() if word.startswith("--") and "${" not in word]
    assert "--block" in options, "so that systemd sees when it ends"
    assert [option for option in options if option not in docs] == []


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_unit(unit: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    for name in UNITS:
        text = re.sub(r"/opt/rtseg/bin/\S+", "/bin/true", (DEPLOY / name).read_text())
        (tmp_path / name).write_text(text)
    command = [program, "verify", "--man=no", str(tmp_path / unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Unknown" not in done.stderr, done.stderr
    assert "invalid" not in done.stderr.lower(), done.stderr
