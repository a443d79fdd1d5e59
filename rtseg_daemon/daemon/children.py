"""One child process of the supervisor: started, watched, restarted with growing pauses."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import DeviceError
from rtseg_daemon.ledger.leases import owner_prefix
from rtseg_daemon.ledger.retry import restart_seconds
from rtseg_daemon.one_thread import with_one_thread

SETTLED_SECONDS = 60.0
"""A child that lived this long has settled: its next death counts as the first."""
FIRST_SIGN_SECONDS = 300.0
"""Until a child has shown its first sign of life: a cold disk and a crowded machine make a start slow."""
FROZEN_SECONDS = 60.0
"""Without a sign of life for so long, a child is taken for frozen."""
WORKER_FROZEN_SECONDS = 180.0
"""For a worker: while a library is loaded or a model compiled, no other thread of it may run."""


@dataclass
class Child:
    """A child and its present process.

    It inherits the storage lock, so that no other daemon starts while it lives. Its standard input is a socket: the end
    of it tells the child that the supervisor is gone, and what the child writes to it shows that it lives.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    lock: int
    frozen_seconds: float = FROZEN_SECONDS
    one_thread: bool = True
    """Whether its libraries are to start no threads for linear algebra."""
    host: str = ""
    """What the daemon calls itself in the ledger."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = -1
    deaths: int = 0
    line: socket.socket | None = None
    heard_at: float | None = None
    """When it last showed that it lives (monotonic seconds). None before the first time."""
    frozen: str = ""
    """Why it is being killed, once it was found frozen."""
    start_at: float = field(default_factory=time.monotonic)

    @property
    def owner(self) -> str:
        """How the name begins under which a worker leases jobs."""
        return owner_prefix(self.name, self.host, self.process.pid if self.process else 0)

    @property
    def pid(self) -> int | None:
        """The living process. Asked by other threads too."""
        process = self.process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def alive(self) -> bool:
        return self.pid is not None

    def start_if_due(self) -> bool:
        """Start the process if there is none and its pause is over."""
        if self.process is not None or time.monotonic() < self.start_at:
            return False
        command = [sys.executable, "-m", self.module, *self.arguments]
        self.line, theirs = socket.socketpair()
        self.line.setblocking(False)
        with theirs:
            environment = with_one_thread(os.environ) if self.one_thread else None
            self.process = subprocess.Popen(command, stdin=theirs.fileno(), pass_fds=(self.lock,), env=environment)
        self.started_at, self.heard_at, self.frozen = time.monotonic(), None, ""
        self.restarts += 1
        return True

    def note_end(self) -> str | None:
        """Note that the process has ended, with the time of its next start. Returns why, or None while it runs."""
        if self.process is None or self.process.poll() is None:
            return None
        reason = self.frozen or why_ended(self.name, self.process.returncode)
        if self.line is not None:
            self.line.close()
        self.process = self.line = None
        now = time.monotonic()
        self.deaths = 1 if now - self.started_at > SETTLED_SECONDS else self.deaths + 1
        self.start_at = now + restart_seconds(self.deaths)
        return reason

    def silence(self, now: float) -> float:
        """Seconds since the last sign of life, or since the start before the first one."""
        with contextlib.suppress(OSError):
            while self.line is not None and self.line.recv(4096):
                self.heard_at = now
        return now - (self.started_at if self.heard_at is None else self.heard_at)

    def freezes(self, now: float) -> str | None:
        """Why the process must be taken for frozen, told once, or None while it is not."""
        if self.frozen or not self.alive:
            return None
        silence = self.silence(now)
        if silence <= (self.frozen_seconds if self.heard_at is not None else FIRST_SIGN_SECONDS):
            return None
        self.frozen = f"{self.name} gave no sign of life for {silence:.0f} s"
        return self.frozen

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the process lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def why_ended(name: str, returncode: int) -> str:
    """A sentence about an exit status as `subprocess` tells it."""
    if returncode >= 0:
        return f"{name} ended with exit status {returncode}"
    hint = " (out of memory?)" if -returncode == signal.SIGKILL else ""
    return f"{name} was killed by signal {-returncode}{hint}"


def devices(compute: Compute, visible: str | None, nodes: int) -> list[str]:
    """The device of each worker: those that `compute.devices` lists, else what `compute.device` means here.

    Args:
        compute: `devices` names a card as often as workers share it. `device` is `auto`, `cpu`, `cuda` or `cuda:N`,
            and `auto` is one worker for every card.
        visible: the environment's CUDA_VISIBLE_DEVICES.
        nodes: how many GPUs the kernel shows.

    Raises DeviceError where a GPU is asked for and none can be there. A worker that starts learns the rest.
    """
    count = len([part for part in visible.split(",") if part.strip()]) if visible is not None else nodes
    asked = compute.devices or (compute.device,)
    if count == 0 and (missing := [device for device in asked if device.startswith("cuda")]):
        key = "compute.devices names" if compute.devices else "compute.device is"
        raise DeviceError(f"{key} {missing[0]} but this machine shows no GPU; set compute.device: auto or cpu")
    if compute.devices or compute.device != "auto" or count < 2:
        return list(asked)
    return [f"cuda:{index}" for index in range(count)]


def gpu_nodes() -> int:
    """How many GPUs the kernel shows, found without loading any library. AMD's and WSL's nodes count as one."""
    nvidia = len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])
    return nvidia or int(Path("/dev/kfd").exists() or Path("/dev/dxg").exists())


@dataclass(frozen=True)
class Modules:
    """Which module each child runs, and the class of an actor in Ray."""

    receiver: str = "rtseg_daemon.daemon.receiver"
    worker: str = "rtseg_daemon.daemon.worker"
    deliverer: str = "rtseg_daemon.daemon.deliverer"
    web: str = "rtseg_daemon.daemon.web"
    files: str = "rtseg_daemon.daemon.files"
    feedback: str = "rtseg_daemon.daemon.feedback"
    launcher: str = "rtseg_daemon.daemon.launcher"
    card: str = "rtseg_daemon.daemon.card:Card"


def children_of(config: Config, config_file: Path, lock: int, visible: str | None, modules: Modules) -> list[Child]:
    """The processes that this configuration needs."""
    common = ("--config", str(config_file))
    found = [Child("receiver", modules.receiver, common, lock)]
    for index, device in enumerate(devices(config.compute, visible, gpu_nodes())):
        name = f"worker-{index}"
        arguments = (*common, "--name", name, "--device", device)
        found.append(
            Child(name, modules.worker, arguments, lock, WORKER_FROZEN_SECONDS, one_thread=False, host=config.host_name)
        )
    found.append(Child("deliverer", modules.deliverer, common, lock))
    if config.measures_contours:
        found.append(Child("feedback", modules.feedback, common, lock, WORKER_FROZEN_SECONDS))
    if config.cluster.tls is not None:
        found.append(Child("files", modules.files, common, lock))
    if config.compute.cluster is not None:
        found.append(Child("launcher", modules.launcher, (*common, "--card", modules.card), lock))
    if config.web.enabled:
        found.append(Child("web", modules.web, common, lock))
    return found
