"""`kill -9` of workers, and of every process at once, under load: nothing acknowledged is lost, nothing is sent twice.

The network is a stub (`tests.stub`); senders and planning system are dcmtk's. So that hundreds of kills fit into an
hour, a child that died is started again after a second at the most, and a job may lose its worker any number of times.
"""

import contextlib
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from tests.peers import ENVIRONMENT, Storescp, program
from tests.receiver import encoded
from tests.world import Daemon, patient, wait_for, write_config

pytestmark = [
    pytest.mark.peers,
    # pynetdicom leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SENDERS = 2
SLICES = 20
BACKLOG = 6
"""Senders pause while so many of their series have not reached the planning system."""
DRAIN_SECONDS = 180.0


@dataclass
class Pacs(threading.Thread):
    """Sends one series after the other with storescu, and a whole series again where it was cut off."""

    number: int
    folder: Path
    port: int
    crowded: Callable[[], bool]
    acknowledged: dict[str, str] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Until told that it is over; the series at hand is sent to its end."""
        while not self.over.is_set():
            if self.crowded():
                time.sleep(0.1)
                continue
            seed = self.number + SENDERS * len(self.finished)
            files = patient(self.folder / str(seed), seed, SLICES)
            while not self.send(files):
                time.sleep(0.2)
            self.finished.append(str(dcmread(files[0]).SeriesInstanceUID))

    def send(self, files: list[Path]) -> bool:
        """True if every file was acknowledged and the association released; each acknowledgement is remembered."""
        command = [program("storescu"), "-v", "-aet", f"PACS{self.number}", "-aec", "RTSEG", "-to", "5", "-td", "20"]
        command += ["127.0.0.1", str(self.port), *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False)
        sent = None
        for line in (done.stdout + done.stderr).splitlines():
            if "Sending file: " in line:
                sent = Path(line.split("Sending file: ")[1].strip())
            elif "Received Store Response (Success)" in line and sent is not None:
                image = dcmread(sent)
                self.acknowledged[str(image.SOPInstanceUID)] = digest(image)
        return done.returncode == 0


def digest(image: Dataset) -> str:
    """SHA-256 of the data set without its file meta information."""
    return hashlib.sha256(encoded(image)).hexdigest()


class Executioner:
    """Kills processes of one daemon at random moments, and looks at the ledger after each."""

    def __init__(self, daemon: Daemon, database: Path, seed: int) -> None:
        self.daemon = daemon
        self.database = database
        self.rng = random.Random(seed)
        self.in_mid_job = 0

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def children(self) -> dict[int, str]:
        """The living children of the supervisor: pid to command line."""
        assert self.daemon.process is not None
        pid = self.daemon.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child): line for child in found if (line := command_line(int(child)))}

    def workers(self) -> list[int]:
        return [pid for pid, line in self.children().items() if "--name worker" in line]

    def kill_worker(self, in_mid_job: bool) -> None:
        """Wait for a worker (and for its next job, as far as one comes soon), then a random time, and kill it."""
        wait_for(lambda: bool(self.workers()), 30, self.daemon.tail, 0.02)
        deadline = time.monotonic() + 20.0
        while in_mid_job and not self.running() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(self.rng.uniform(0.0, 0.6 if in_mid_job else 1.5))
        self.strike(self.workers())

    def kill_everything(self) -> None:
        """The supervisor and all of its children, in random order and with no time in between; then a new start."""
        time.sleep(self.rng.uniform(0.0, 3.0))
        assert self.daemon.process is not None
        children = list(self.children())
        victims = [self.daemon.process.pid, *children]
        self.rng.shuffle(victims)
        self.strike(victims)
        self.daemon.process.wait()
        wait_for(lambda: not any(command_line(pid) for pid in children), 10, pause=0.02)
        self.examine()
        self.daemon.start()

    def strike(self, pids: list[int]) -> None:
        self.in_mid_job += self.running()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def running(self) -> bool:
        return bool(self.rows("select 1 from job where state = 'RUNNING'"))

    def examine(self) -> None:
        assert self.rows("pragma integrity_check") == [("ok",)]


def command_line(pid: int) -> str:
    """What a living process was started with; nothing for one that is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextlib.contextmanager
def daemon_of(folder: Path, tps_port: int) -> Iterator[Daemon]:
    config = write_config(
        folder,
        tps_port,
        series={"quiet_seconds": 1.0},
        jobs={"max_attempts": 10_000, "shutdown_seconds": 10},
        delivery={"first_retry_seconds": 0.5, "longest_retry_seconds": 2, "probe_seconds": 1},
    )
    environment = {"STUB_SECONDS": "0.4", "STUB_RESTART_SECONDS": "1"}
    daemon = Daemon(config, folder / "daemon.log", environment=environment).start()
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()


@contextlib.contextmanager
def load(folder: Path, port: int, tps: Storescp) -> Iterator[list[Pacs]]:
    """Senders at work; at the end of the block each has brought its series to the end."""
    senders: list[Pacs] = []

    def crowded() -> bool:
        return sum(len(sender.finished) for sender in senders) - len(tps.files) >= BACKLOG

    senders += [Pacs(number, folder / f"pacs{number}", port, crowded) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        yield senders
    finally:
        for sender in senders:
            sender.over.set()
        for sender in senders:
            sender.join(60)
    assert not any(sender.is_alive() for sender in senders)


@pytest.mark.parametrize(
    ("workers", "everything"),
    [(8, 2), pytest.param(300, 100, marks=pytest.mark.faults)],
)
def test_kills_of_workers_and_of_everything_lose_nothing_and_send_nothing_twice(
    tmp_path: Path, workers: int, everything: int
) -> None:
    workers = int(os.environ.get("RTSEG_WORKER_KILLS", workers))
    everything = int(os.environ.get("RTSEG_KILLS_OF_EVERYTHING", everything))
    tps = Storescp(tmp_path / "tps")
    with tps.running(), daemon_of(tmp_path, tps.port) as daemon:
        executioner = Executioner(daemon, tmp_path / "storage" / "rtseg.db", seed=11)
        plan = ["worker"] * workers + ["everything"] * everything
        executioner.rng.shuffle(plan)
        with load(tmp_path, daemon.port, tps) as senders:
            for number, victim in enumerate(plan):
                if victim == "worker":
                    executioner.kill_worker(in_mid_job=number % 2 == 0)
                    executioner.examine()
                else:
                    executioner.kill_everything()
                sys.stderr.write(f"kill {number + 1} of {len(plan)}: {victim}\n")
        finished = [series for sender in senders for series in sender.finished]
        assert finished
        wait_for(lambda: settled(executioner, len(finished)), DRAIN_SECONDS, daemon.tail, 0.5)
        everything_is_there(executioner, senders)
        one_structure_set_each(tps, finished)
        objects = sum(len(sender.acknowledged) for sender in senders)
        sys.stderr.write(
            f"{executioner.in_mid_job} in mid-job; {len(finished)} series, {objects} objects acknowledged\n"
        )


def settled(executioner: Executioner, series: int) -> bool:
    """Whether every series that was sent has its result, and nothing is under way any more."""
    states = Counter(state for (state,) in executioner.rows("select state from job"))
    under_way = sum(states[state] for state in ("QUEUED", "RUNNING", "SEGMENTED", "DELIVERING"))
    return under_way == 0 and states["DELIVERED"] >= series


def everything_is_there(executioner: Executioner, senders: list[Pacs]) -> None:
    """Every object that a sender saw acknowledged is kept, with the content that was sent."""
    storage = executioner.database.parent
    kept = dict(executioner.rows("select sop_instance_uid, path from instance where state = 'KEPT'"))
    acknowledged = {uid: content for sender in senders for uid, content in sender.acknowledged.items()}
    assert acknowledged
    assert not [uid for uid in acknowledged if uid not in kept]
    assert not [uid for uid, content in acknowledged.items() if digest(dcmread(storage / kept[uid])) != content]
    assert executioner.rows("pragma integrity_check") == [("ok",)]


def one_structure_set_each(tps: Storescp, finished: list[str]) -> None:
    """At the planning system lies one RTSTRUCT for each series, and it is about all of its slices."""
    found: Counter[str] = Counter()
    for dataset in tps.structure_sets:
        study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        series = study.RTReferencedSeriesSequence[0]
        found[str(series.SeriesInstanceUID)] += 1
        assert len(series.ContourImageSequence) == SLICES
    assert found == Counter(finished)
