"""A daemon under load whose processes are killed: senders and planning system are dcmtk's, the network is a stub."""

import contextlib
import hashlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydicom import Dataset, dcmread

from tests.peers import ENVIRONMENT, Storescp, program
from tests.receiver import encoded
from tests.template import Forked
from tests.world import Daemon, patient, wait_for, write_config

SENDERS = 2
SLICES = 20
BACKLOG = 8
"""Senders pause while so many of their series have not reached the planning system."""
DRAIN_SECONDS = 600.0
PAUSE_SECONDS = 1.0
"""Between two series of one sender."""
UP_SECONDS = 240.0
CHILDREN = {"receiver": "receiver", "worker": "worker-0", "deliverer": "deliverer"}
"""Victim -> its name in the ledger."""
EVERYTHING = "everything"
ENVIRONMENT_OF_STUB = {"STUB_SECONDS": "0.3", "STUB_RESTART_SECONDS": "0.05"}
BUSY = {
    "receiver": "select 1 from association where ending = 'OPEN'",
    "worker": "select 1 from job where state = 'RUNNING'",
    "deliverer": "select 1 from delivery where state = 'SENDING'",
}
"""When a process is at work, by the ledger."""


@dataclass
class Pacs(threading.Thread):
    """Sends one series after the other with storescu, and a whole series again where it was cut off."""

    number: int
    folder: Path
    where: Callable[[], tuple[str, int]]
    """Host and port for the next attempt."""
    crowded: Callable[[], bool]
    answer_seconds: int = 20
    """How long an answer is waited for."""
    most: int | None = None
    """So many series at most."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    cut_off: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Until told that it is over; the series at hand is sent to its end."""
        while not self.over.is_set() and (self.most is None or len(self.finished) < self.most):
            if self.crowded():
                time.sleep(0.1)
                continue
            seed = self.number + SENDERS * len(self.finished)
            files = patient(self.folder / str(seed), seed, SLICES)
            while not self.send(files):
                self.cut_off += 1
                time.sleep(0.5)
            self.finished.append(str(dcmread(files[0]).SeriesInstanceUID))
            self.over.wait(PAUSE_SECONDS)

    def send(self, files: list[Path]) -> bool:
        """True if every file was acknowledged and the association released; each acknowledgement is remembered."""
        waits = ["-to", "5", "-td", str(self.answer_seconds)]
        command = [program("storescu"), "-v", "-aet", f"PACS{self.number}", "-aec", "RTSEG", *waits]
        host, port = self.where()
        command += [host, str(port), *map(str, files)]
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
    """Kills processes of one daemon at random moments, and looks at the ledger whenever they are back."""

    def __init__(self, daemon: Daemon, database: Path, seed: int) -> None:
        self.daemon = daemon
        self.database = database
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as connection:
            return connection.execute(query).fetchall()

    def examine(self) -> None:
        assert self.rows("pragma integrity_check") == [("ok",)]
        self.counts["integrity checks"] += 1

    def kill(self, victim: str) -> None:
        """Wait until the victim is back from its last death, look at the ledger, wait for a moment, strike."""
        wait_for(lambda: self.is_up(victim), UP_SECONDS, self.daemon.tail, 0.05)
        self.examine()
        if victim == EVERYTHING:
            self.kill_everything()
        else:
            self.choose_moment(victim)
            self.strike(self.pids(victim))
        self.counts[victim] += 1

    def choose_moment(self, victim: str) -> None:
        """Two times out of three while the victim is at work, as far as work comes soon."""
        at_work = self.rng.random() < 2 / 3
        deadline = time.monotonic() + 10.0
        while at_work and not self.rows(BUSY[victim]) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(self.rng.uniform(0.0, 0.6))

    def kill_everything(self) -> None:
        """The supervisor and all of its children, in random order and with no time in between; then a new start."""
        time.sleep(self.rng.uniform(0.0, 2.0))
        assert self.daemon.process is not None
        children = [pid for kind in CHILDREN for pid in self.pids(kind)]
        victims = [*children, self.daemon.process.pid]
        self.rng.shuffle(victims)
        self.strike(victims)
        self.daemon.process.wait()
        wait_for(lambda: not any(map(lives, children)), 20, pause=0.02)
        self.examine()
        self.daemon.start()

    def strike(self, pids: Sequence[int]) -> None:
        for kind, query in BUSY.items():
            self.counts[f"{kind} at work"] += bool(self.rows(query))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def is_up(self, victim: str) -> bool:
        """Whether it can be killed again: the receiver when it listens, the others when they live."""
        wanted = CHILDREN if victim == EVERYTHING else [victim]
        return all(map(self.pids, wanted)) and ("receiver" not in wanted or listens(self.daemon.port))

    def pids(self, kind: str) -> list[int]:
        """The living process of that kind, as the ledger knows it."""
        known = self.rows(f"select pid from process where name = '{CHILDREN[kind]}' and pid is not null")
        return [pid for (pid,) in known if lives(pid)]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def lives(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class ForkedDaemon(Daemon):
    """A daemon whose supervisor, too, is forked off the template."""

    def launch(self, command: Sequence[str], log: IO[str]) -> Any:
        return Forked(command, subprocess.PIPE, place=self.environment["STUB_TEMPLATE"], log=log.fileno())

    def stop(self) -> int:
        status = super().stop()
        self.forget()
        return status

    def forget(self) -> None:
        """Close our end of the line to a process that has ended."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


@contextlib.contextmanager
def daemon_of(folder: Path, tps_port: int, place: Path | None) -> Iterator[Daemon]:
    """A daemon whose children are started again at once, and whose jobs may lose any number of workers.

    With a `place` its processes are forked off the template that waits there.
    """
    config = write_config(
        folder,
        tps_port,
        series={"quiet_seconds": 2.0},
        jobs={"max_attempts": 10_000, "shutdown_seconds": 10},
        delivery={"first_retry_seconds": 0.5, "longest_retry_seconds": 2, "probe_seconds": 3},
    )
    daemon = Daemon(config, folder / "daemon.log", environment=ENVIRONMENT_OF_STUB)
    if place is not None:
        daemon = ForkedDaemon(config, folder / "daemon.log", environment={"STUB_TEMPLATE": str(place)})
    try:
        yield daemon.start()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()


@contextlib.contextmanager
def load(folder: Path, port: int, tps: Storescp) -> Iterator[list[Pacs]]:
    """Senders at work; at the end of the block each has brought its series to the end."""
    senders: list[Pacs] = []

    def crowded() -> bool:
        return sum(len(sender.finished) for sender in senders) - len(tps.files) >= BACKLOG

    def here() -> tuple[str, int]:
        return "127.0.0.1", port

    senders += [Pacs(number, folder / f"pacs{number}", here, crowded) for number in range(SENDERS)]
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


def kill_under_load(
    folder: Path, plan: Sequence[str], seed: int, told: Callable[[str], bool], place: Path | None
) -> Counter[str]:
    """One daemon from its start through every kill of the plan to the last delivery; raises where a promise broke.

    `told` hears of every kill and says whether to go on. Returns what was counted on the way.
    """
    folder.mkdir()
    tps = Storescp(folder / "tps")
    with tps.running(), daemon_of(folder, tps.port, place) as daemon:
        executioner = Executioner(daemon, folder / "storage" / "rtseg.db", seed)
        with load(folder, daemon.port, tps) as senders:
            for victim in plan:
                executioner.kill(victim)
                if not told(victim):
                    break
            wait_for(lambda: executioner.is_up(EVERYTHING), UP_SECONDS, daemon.tail)
        finished = [series for sender in senders for series in sender.finished]
        assert finished
        wait_for(lambda: settled(executioner, len(finished)), DRAIN_SECONDS, daemon.tail, 0.5)
        executioner.examine()
        objects = everything_is_there(executioner, senders)
        one_structure_set_each(tps, finished)
        resent = sum(sender.cut_off for sender in senders)
    return executioner.counts + Counter({"series": len(finished), "objects": objects, "transfers broken": resent})


def settled(executioner: Executioner, series: int) -> bool:
    """Whether every series that was sent has its result, and nothing is under way any more."""
    states = Counter(state for (state,) in executioner.rows("select state from job"))
    under_way = sum(states[state] for state in ("QUEUED", "RUNNING", "SEGMENTED", "DELIVERING"))
    return under_way == 0 and states["DELIVERED"] >= series


def everything_is_there(executioner: Executioner, senders: list[Pacs]) -> int:
    """Every object that a sender saw acknowledged is kept, with the content that was sent; returns how many."""
    storage = executioner.database.parent
    kept = dict(executioner.rows("select sop_instance_uid, path from instance where state = 'KEPT'"))
    acknowledged = {uid: content for sender in senders for uid, content in sender.acknowledged.items()}
    assert acknowledged
    assert not [uid for uid in acknowledged if uid not in kept]
    assert not [uid for uid, content in acknowledged.items() if digest(dcmread(storage / kept[uid])) != content]
    return len(acknowledged)


def one_structure_set_each(tps: Storescp, finished: list[str]) -> None:
    """At the planning system lies one RTSTRUCT for each series, and it is about all of its slices."""
    found: Counter[str] = Counter()
    for dataset in tps.structure_sets:
        study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        series = study.RTReferencedSeriesSequence[0]
        found[str(series.SeriesInstanceUID)] += 1
        assert len(series.ContourImageSequence) == SLICES
    assert found == Counter(finished)
