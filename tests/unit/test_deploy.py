"""What ships for operators agrees with the program."""

import re
from pathlib import Path

import yaml

from rtseg_daemon.config.sections import Jobs

DEPLOY = Path(__file__).parents[2] / "deploy"


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
