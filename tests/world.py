"""What a test of the daemon needs around it: a configuration, a patient, a PACS and a planning system on loopback."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, RTStructureSetStorage, Verification

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.config.file import load_config
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.supervision import processes
from rtseg_daemon.storage import layout_of
from tests.synthetic import write_series
from tests.tiny import make_bundle

ROOT = Path(__file__).parent.parent
START_SECONDS = 120.0
"""A crowded machine needs a minute to start four processes."""


def free_port() -> int:
    """A TCP port on loopback that nobody uses.

    Below those that the system hands out by itself, so that it stays free until its test listens there; by the system's
    own chance, since tests that run side by side may have seeded theirs alike.
    """
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def body_volume(slices: int = 20) -> Volume:
    """An elliptic cylinder of water in air, HU, 20 slices of 48 x 48."""
    spacing = (3.0, 5.0, 5.0)
    y, x = np.meshgrid(np.arange(48) - 24.0, np.arange(48) - 24.0, indexing="ij")
    inside = (y / 14) ** 2 + (x / 18) ** 2 < 1
    hu = np.where(inside, 20, -1000).astype(np.int16)
    return Volume(np.repeat(hu[None], slices, axis=0), spacing, (-30.0, -120.0, -120.0))


def patient(folder: Path, seed: int = 0, slices: int = 20) -> list[Path]:
    """The files of one small CT series."""
    return write_series(folder, body_volume(slices), seed=seed)


@dataclass
class Tps:
    """A planning system played by pynetdicom: keeps what it gets and answers what the test wants.

    `answer` is called with the number of the C-STORE (from 0) and the data set, and returns the status.
    """

    port: int = field(default_factory=free_port)
    answer: Callable[[int, Dataset], int] = lambda _number, _dataset: 0x0000
    received: list[Dataset] = field(default_factory=list)
    attempts: int = 0
    classes: Sequence[str] = (RTStructureSetStorage, CTImageStorage)

    @contextmanager
    def running(self, handlers: Sequence[Any] = (), contexts: Sequence[Any] = ()) -> Iterator["Tps"]:
        ae = AE(ae_title="TPS")
        for context in (*self.classes, Verification):
            ae.add_supported_context(context)
        for context in contexts:
            ae.add_supported_context(context, scu_role=True, scp_role=True)
        bound = [(evt.EVT_C_STORE, self._store), *handlers]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=bound)
        try:
            yield self
        finally:
            server.shutdown()

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        status = self.answer(self.attempts, dataset)
        self.attempts += 1
        if status == 0x0000 or status & 0xF000 == 0xB000:
            self.received.append(dataset)
        return status

    @property
    def structure_sets(self) -> list[Dataset]:
        return [d for d in self.received if d.SOPClassUID == RTStructureSetStorage]


def write_config(folder: Path, tps_port: int, **changes: Any) -> Path:
    """A configuration with a tiny bundle, short times, and one planning system; `changes` replace whole sections."""
    models = folder / "models"
    if not models.exists():
        make_bundle(models)
    config: dict[str, Any] = {
        "dicom": {"port": free_port()},
        "storage": {"directory": str(folder / "storage"), "minimum_free_gb": 0},
        "series": {"quiet_seconds": 0.5},
        "routes": [{"name": "all", "match": {"modality": "CT"}, "bundle": "tiny", "destinations": ["tps"]}],
        "destinations": [{"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": tps_port}],
        "models": {"directory": str(models)},
        "jobs": {"shutdown_seconds": 10},
        "delivery": {"first_retry_seconds": 0.5, "longest_retry_seconds": 2, "probe_seconds": 1},
        "web": {"enabled": False},
        "logging": {"level": "INFO", "format": "text"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | changes, sort_keys=False))
    return path


@dataclass
class Daemon:
    """`serve` as a process, and the admin commands against it."""

    config: Path
    log: Path
    module: Sequence[str] = ("tests.stub",)
    host: str = "127.0.0.1"
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def port(self) -> int:
        return int(yaml.safe_load(self.config.read_text())["dicom"]["port"])

    def start(self) -> "Daemon":
        """Start it and wait until it answers a C-ECHO."""
        command = [sys.executable, "-m", *self.module, "serve", "--config", str(self.config)]
        with self.log.open("a") as log:
            self.process = self.launch(command, log)
        wait_for(self.answers, START_SECONDS, self.tail)
        return self

    def launch(self, command: Sequence[str], log: IO[str]) -> "subprocess.Popen[bytes]":
        environment = os.environ | self.environment
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.tail()}"
        with socket.socket() as probe:
            if probe.connect_ex((self.host, self.port)) != 0:
                return False
        ae = AE(ae_title="PACS")
        ae.add_requested_context(Verification)
        association = ae.associate(self.host, self.port, ae_title="RTSEG")
        if not association.is_established:
            return False
        association.release()
        return True

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL to the supervisor alone, as a machine that takes no notice would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-40:])

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """An admin command."""
        command = [sys.executable, "-m", "rtseg_daemon", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    def ask(self, *arguments: str) -> Any:
        """What an admin command says as JSON."""
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def jobs(self) -> list[dict[str, Any]]:
        """What `jobs list --json` says, read from the ledger without starting a process."""
        config = load_config(self.config)
        engine = open_ledger(config.database_url)
        with reading(engine) as session:
            shapes = [views.job_shape(job, layout_of(config).shown) for job in views.all_jobs(session)]
        engine.dispose()
        return shapes

    def pids(self) -> dict[str, int | None]:
        """The children by name, as the ledger knows them."""
        engine = open_ledger(load_config(self.config).database_url)
        with reading(engine) as session:
            found = {child.name: child.pid for child in processes(session)}
        engine.dispose()
        return found

    def pid(self, child: str) -> int:
        """The process id of a child that runs. Never 0: a signal to 0 is one to every process of the test run."""
        found = self.pids()[child]
        assert found, f"{child} does not run: {self.tail()}"
        return found

    def wait_for_state(self, state: str, seconds: float = 30, job: int | None = None) -> dict[str, Any]:
        """Wait until the newest job, or that of the number `job`, is in `state`; returns it."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.jobs() if job in (None, one["id"])][:1]

        def there() -> bool:
            return any(one["state"] == state for one in found())

        wait_for(there, seconds, lambda: f"{self.jobs()}\n{self.tail()}")
        return found()[0]


def wait_for(
    condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = str, pause: float = 0.1
) -> None:
    """Wait until `condition` holds; fails with what `explain` says after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s\n{explain()}"
        time.sleep(pause)


def send(port: int, files: Sequence[Path], ae_title: str = "PACS") -> list[int]:
    """Play the PACS: send `files` over one association; returns the statuses."""
    ae = AE(ae_title=ae_title)
    ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", port, ae_title="RTSEG")
    assert association.is_established
    statuses = [int(association.send_c_store(dcmread(path)).Status) for path in files]
    association.release()
    return statuses
