"""The systemd unit that ships: what the service may not do, as systemd itself reads it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "rtseg-daemon.service"
MOST_EXPOSED = 2.0
"""Of 10, by `systemd-analyze security`; below 2.5 counts as OK there. A unit without any of it has 9.6."""

SHUT = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectControlGroups": "yes",
    "ProtectProc": "invisible",
    "PrivateTmp": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "SystemCallFilter": "@system-service",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
}


def settings() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))


def analyzed(*arguments: str) -> str:
    """What systemd-analyze says without a running systemd; skips the test where it cannot."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("needs systemd 252 or later, which can judge a file offline")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("key", "value"), SHUT.items())
def test_what_the_service_does_not_need_is_shut(key: str, value: str) -> None:
    assert settings()[key] == value


def test_it_is_not_run_as_root_and_the_memory_of_all_is_bounded() -> None:
    assert settings()["User"] == "rtseg"
    assert settings()["MemoryMax"] == "80%"
    assert settings()["OOMPolicy"] == "continue"


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    """With a program in place of the daemon's, which is not installed here."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"/opt/rtseg/bin/rtseg-daemon", "/bin/true", UNIT.read_text()))
    said = analyzed("verify", "--man=no", str(copy))
    assert not [line for line in said.splitlines() if UNIT.name in line], said


def test_systemd_finds_little_exposure() -> None:
    said = analyzed("security", "--offline=true", "--no-pager", str(UNIT))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= MOST_EXPOSED
