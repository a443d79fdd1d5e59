"""A Ray for tests: a head with one card on 127.0.0.1, whose parts are stopped by their numbers."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.world import ROOT, free_port

LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray listens on 127.0.0.1 alone with this."""


def require_ray() -> None:
    """Skip where it is not installed, unless RTSEG_REQUIRE_RAY=1."""
    if find_spec("ray") is None:
        message = "ray is not installed (pip install 'rtseg-daemon[cluster]')"
        if os.environ.get("RTSEG_REQUIRE_RAY") == "1":
            pytest.fail(message)
        pytest.skip(message, allow_module_level=True)


class Head:
    """A head that is a node too. `environment` is that of its actors, `within` words before its command."""

    def __init__(
        self, environment: dict[str, str], host: str = "127.0.0.1", within: Sequence[str] = (), cards: int = 1
    ) -> None:
        require_ray()
        self.folder = Path(tempfile.mkdtemp(prefix="rtseg-ray-", dir="/tmp"))  # a socket's path may have 107 letters
        self.token = self.folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.port, self.client_port = free_port(), free_port()
        self.host, self.within, self.cards = host, list(within), cards
        self.environment = os.environ | environment | (LOCAL if host == "127.0.0.1" else {})
        self.environment |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token)}
        self.starts = 0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Ray itself gives a start up after 30 s, which a crowded machine may take."""
        for _ in range(3):
            if self.tried():
                return
            self.kill()
        pytest.fail((self.folder / "start.log").read_text())

    def tried(self) -> bool:
        self.starts += 1
        command = [*self.within, sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
        command += [f"--node-ip-address={self.host}"]
        command += [f"--port={self.port}", f"--ray-client-server-port={self.client_port}"]
        command += ["--include-dashboard=false", "--include-log-monitor=false", "--disable-usage-stats"]
        command += [f'--resources={{"rtseg_card": {self.cards}}}', "--num-cpus=0", "--num-gpus=0"]
        command += ["--object-store-memory=80000000"]
        command += [f"--temp-dir={self.folder / str(self.starts)}"]
        log = self.folder / "start.log"
        with log.open("ab") as file:
            done = subprocess.run(
                command, env=self.environment, cwd=ROOT, stdout=file, stderr=file, timeout=90, check=False
            )
        return done.returncode == 0

    def processes(self, part: str = "") -> list[int]:
        """Numbers of this Ray's processes: they name its folder, or have a log there. With `part` those called so."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended, or closed something, meanwhile: it is looked at again
                told = (path / "cmdline").read_text(errors="replace")
                names = [told, *(str(link.readlink()) for link in (path / "fd").iterdir())]
                of_a_daemon = "rtseg_daemon.cluster" in told  # the launcher's process has a log there too
                if part in told and not of_a_daemon and any(str(self.folder) in name for name in names):
                    found.append(int(path.name))
        return found

    def kill(self, part: str = "") -> None:
        """As `kill -9` does, and wait until they are gone."""
        deadline = time.monotonic() + 20
        quiet = 0
        while quiet < 3:
            numbers = self.processes(part)
            quiet = 0 if numbers else quiet + 1
            for number in numbers:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
