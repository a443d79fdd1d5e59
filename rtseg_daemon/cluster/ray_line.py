"""The line to the process that talks to Ray (`ray_process`): one question, one answer, each within its time."""

import importlib.util
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Protocol

from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import ClusterError

MODULE = "rtseg_daemon.cluster.ray_process"
CONNECT_SECONDS = 60.0
"""Ray is loaded, and a client's own server started at the head."""
ANSWER_SECONDS = 15.0
PORT_SECONDS = 5.0
GONE = "ended"
NO_HEAD = "no Ray head answers at {}; is it up (`ray start --head`), and does the firewall let us there?"


class Line(Protocol):
    """What the launcher needs of Ray. Raises ClusterError where that does not answer in time, or says no."""

    def ask(self, do: str, seconds: float = ANSWER_SECONDS, /, **arguments: Any) -> dict[str, Any]: ...

    def close(self) -> None:
        """The process is gone afterwards. Actors stay."""


class RayLine:
    """A new process, not connected to anything yet."""

    def __init__(self, card: str, environment: Mapping[str, str]) -> None:
        self.replies: queue.Queue[str] = queue.Queue()
        self.head: dict[str, Any] = {}
        """Once it is connected: where, and to which version of Ray."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--card", card],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,  # Ray sends signals to whole groups
        )
        assert self.process.stdout is not None
        threading.Thread(target=self._hear, args=(self.process.stdout,), name="ray", daemon=True).start()

    def ask(self, do: str, seconds: float = ANSWER_SECONDS, /, **arguments: Any) -> dict[str, Any]:
        """The answer. Raises ClusterError. After one that did not come in time the line is of no use any more."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        try:
            said = self.replies.get(timeout=seconds)
        except queue.Empty:
            raise ClusterError(f"Ray did not answer within {seconds:.0f} s; look at its head") from None
        if said == GONE:
            raise ClusterError("the process that talks to Ray ended; the log says why, and `pip check` what is missing")
        reply: dict[str, Any] = json.loads(said)
        if "error" in reply:
            raise ClusterError(reply["error"])
        return reply

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _hear(self, replies: IO[str]) -> None:
        with suppress(ValueError, OSError):  # closed meanwhile
            for line in replies:
                self.replies.put(line)
        self.replies.put(GONE)


def environment_for(compute: Compute, present: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What Ray reads from the environment: its makers are told nothing, and the token is the configuration's."""
    token = {} if compute.cluster_token is None else token_variables(compute)
    kept = {key: value for key, value in present.items() if not (token and key == "RAY_AUTH_TOKEN")}
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0", **token}


def token_variables(compute: Compute) -> dict[str, str]:
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(compute.cluster_token)}


def require_ray() -> None:
    """Raise ClusterError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("Ray is not installed; `pip install 'rtseg-daemon[cluster]'`, or leave compute.cluster out")


def require_port(address: str) -> None:
    """Raise ClusterError where nobody listens there: asked without Ray, as long as its head is away.

    `auto` is left to Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), PORT_SECONDS).close()
        except OSError as error:
            raise ClusterError(NO_HEAD.format(address)) from error


def connected(compute: Compute, card: str) -> RayLine:
    """A line to the Ray of `compute.cluster`, whose cards are actors of the class `card`. Raises ClusterError."""
    require_ray()
    require_port(str(compute.cluster))
    line = RayLine(card, environment_for(compute))
    try:
        line.head = line.ask("connect", CONNECT_SECONDS, address=compute.cluster)
    except ClusterError:
        line.close()
        raise
    return line


def described(compute: Compute) -> str:
    """What a person wants to know of the Ray of `compute.cluster`. Raises ClusterError for what is wrong with it."""
    line = connected(compute, card="")
    try:
        found = line.ask("nodes")
    finally:
        line.close()
    where = line.head["head"]
    if found["open"]:
        raise ClusterError(
            f"the Ray head at {where} asks for no token, and lets everybody run programs who reaches it; start head "
            "and nodes with RAY_AUTH_MODE=token, and name the token in compute.cluster_token"
        )
    if not found["nodes"]:
        raise ClusterError(
            f"no node of the Ray at {where} has a card; start nodes with GPUs, or with "
            "--resources '{\"rtseg_card\": 1}'"
        )
    cards = ", ".join(f"{node['cards']} on {node['name']}" for node in found["nodes"])
    return f"Ray {line.head['ray']} at {where} answers; cards: {cards}"
