"""A process that does what the launcher asks of Ray, and nothing else of the daemon ever loads Ray.

Run as `python -m rtseg_daemon.cluster.ray_process --card MODULE:CLASS` by `ray_line`. A line of JSON comes in and one
goes out. Calls into Ray wait for a minute where its head is away, and then end their process. So they have one of their
own, which may be killed at any time: actors are detached, and no job passes through here.
"""

import argparse
import json
import os
import re
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtseg_daemon.cluster.ray_actor import RtsegCard
from rtseg_daemon.cluster.ray_probe import lets_everybody_in, require_head
from rtseg_daemon.errors import ClusterError

NAMESPACE = "rtseg-daemon"
GPU = "GPU"
CARD = "rtseg_card"
"""The resource of a node that has cards of another kind, or lends its processor: `ray start --resources`."""
ANSWER_SECONDS = 2.0
"""For what all cards say together. What comes later is told the next time."""
LONGEST_DETAIL = 300
NO_NODE = "a node of this Ray must run on this host too (`ray start --address`), or write ray://HOST:10001"
NO_ANSWER = "the port is open, and its Ray does not answer; look at the head"


class Cards:
    """The cluster, by what Ray says."""

    def __init__(self, card: str) -> None:
        self.card = card
        self.asked: dict[str, Any] = {}
        """Name of an actor -> what it was asked and has not answered yet."""

    def look(self, owner: str, token: int, version: str) -> dict[str, Any]:
        """Every living node that has cards, and what every actor says."""
        require_head(self.head)
        nodes = [node for node in map(node_shape, ray.nodes()) if node["cards"]]
        names = [str(name) for name in list_named_actors()]
        self.asked = {name: ref for name, ref in self.asked.items() if name in names}
        for name in names:
            if name not in self.asked:
                try:
                    self.asked[name] = ray.get_actor(name).follow.remote(owner, token, version)
                except ValueError:  # it ended a moment ago
                    continue
        refs = list(self.asked.values())
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=ANSWER_SECONDS)
        return {"nodes": nodes, "cards": {name: self.answer(name) for name in list(self.asked)}}

    def nodes(self) -> dict[str, Any]:
        """The same without a word to any actor, and whether the head asks for a token: for a person who checks."""
        found = [node for node in map(node_shape, ray.nodes()) if node["cards"]]
        return {"nodes": found, "open": lets_everybody_in(self.head)}

    def answer(self, name: str) -> dict[str, Any]:
        """What an actor said, or why it says nothing."""
        done, _ = ray.wait([self.asked[name]], timeout=0)
        if not done:
            return {"silent": "does not answer"}
        del self.asked[name]
        try:
            said: dict[str, Any] = ray.get(done[0])
        except ActorDiedError as error:
            return {"dead": in_short(error)}
        except RayActorError as error:
            return {"silent": in_short(error)}
        except RayError as error:
            return {"silent": in_short(error)}
        return said

    def start(self, name: str, node: str, kind: str, arguments: Sequence[Any]) -> dict[str, Any]:
        """An actor on this node, whose card Ray gives to no other."""
        share = {"num_gpus": 1} if kind == GPU else {"resources": {CARD: 1}}
        ray.remote(RtsegCard).options(
            name=name,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=2,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False),
            **share,
        ).remote(self.card, *arguments)
        return {}

    def end(self, name: str, again: bool) -> dict[str, Any]:
        """End an actor at once. Ray starts it `again`, or forgets it."""
        self.asked.pop(name, None)
        with suppress(ValueError):  # it has ended already
            ray.kill(ray.get_actor(name), no_restart=not again)
        return {}

    def connect(self, address: str) -> dict[str, Any]:
        """Raises ClusterError where nobody answers, or Ray does not let us in."""
        require_head(address)
        try:
            ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
        except RuntimeError as error:
            raise ClusterError(other_version(str(error)) or in_short(error)) from error
        except ConnectionError as error:
            if found := re.search(r"cluster at (\S+:\d+)", str(error)):  # what `auto` meant
                require_head(found[1])
            raise ClusterError(f"{in_short(error)}; {NO_NODE if '://' not in address else NO_ANSWER}") from error
        context = ray.get_runtime_context()
        self.head = address if address.startswith("ray://") else context.gcs_address
        return {"head": self.head, "ray": ray.__version__}


def node_shape(node: dict[str, Any]) -> dict[str, Any]:
    """What the launcher needs to know of a node."""
    has = node["Resources"] if node["Alive"] else {}
    kind = GPU if has.get(GPU) else CARD
    named = node["NodeName"] not in ("", node["NodeManagerAddress"])
    name = node["NodeName"] if named else node["NodeManagerHostname"]
    return {"id": node["NodeID"], "name": name, "kind": kind, "cards": int(has.get(kind, 0))}


def other_version(said: str) -> str:
    """A sentence where Ray says that the head has another version of Ray or Python, else nothing."""
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", said)
    if len(versions) != 2:
        return ""
    (their_ray, their_python), (our_ray, our_python) = versions
    return (
        f"the head runs Ray {their_ray} with Python {their_python}, and this host Ray {our_ray} with Python "
        f"{our_python}; install the same versions on both"
    )


def in_short(error: BaseException) -> str:
    """The line of an error of Ray that says most: the last of a traceback that it quotes, else its first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    quoted = "Traceback (most recent call last):" in str(error) or "ray::" in str(error)
    words = lines[-1] if lines and quoted else (lines or [type(error).__name__])[0]
    return words[:LONGEST_DETAIL]


def answer(cards: Cards, asked: dict[str, Any]) -> dict[str, Any]:
    """Do what a line asks. An error is an answer too."""
    try:
        reply: dict[str, Any] = getattr(cards, asked.pop("do"))(**asked)
    except Exception as error:  # noqa: BLE001 - Ray raises errors of many kinds, and each is told
        return {"error": in_short(error)}
    return reply


def serve(cards: Cards, lines: TextIO, replies: TextIO) -> None:
    """Until the lines end. They are read by a thread, so that the end is noticed in the middle of a call."""
    waiting: list[str] = []
    there = threading.Semaphore(0)

    def read() -> None:
        for line in lines:
            waiting.append(line)
            there.release()
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        there.acquire()
        print(json.dumps(answer(cards, json.loads(waiting.pop(0)))), file=replies, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The process, until its standard input ends. What Ray prints goes to standard error."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.cluster.ray_process")
    parser.add_argument("--card", required=True, help="the actor's class, MODULE:CLASS")
    options = parser.parse_args(arguments)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(Cards(options.card), sys.stdin, replies)


if __name__ == "__main__":
    main()
