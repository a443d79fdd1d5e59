"""`kill -9` of the receiver, of a worker and of every process at once, under load: nothing lost, nothing sent twice.

So that hundreds of kills fit into half an hour, several daemons, each with its own storage, senders and planning
system, are killed at the same time; a child that died is started again at once, forked off a process that has imported
its modules already (`tests.template`); a job may lose any number of workers.
How many kills: RTSEG_KILLS="receiver=600 worker=300 deliverer=30 everything=100"; RTSEG_WARDS daemons at once;
RTSEG_SEED for other moments; after RTSEG_MINUTES nothing more is killed, and what was promised is looked at.
"""

import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.killing import ENVIRONMENT_OF_STUB, EVERYTHING, kill_under_load
from tests.faults.report import report
from tests.template import template

pytestmark = [
    pytest.mark.peers,
    # pynetdicom leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SHORT = {"receiver": 4, "worker": 4, "deliverer": 1, EVERYTHING: 1}
LONG = {"receiver": 600, "worker": 300, "deliverer": 30, EVERYTHING: 100}


def plans(kills: dict[str, int], wards: int, rng: random.Random) -> list[list[str]]:
    """The victims of each ward, in random order."""
    victims = [victim for victim, count in kills.items() for _ in range(count)]
    rng.shuffle(victims)
    return [victims[ward::wards] for ward in range(wards)]


def wanted(kills: dict[str, int]) -> dict[str, int]:
    """The counts, or those that RTSEG_KILLS names instead."""
    given = dict(part.split("=") for part in os.environ.get("RTSEG_KILLS", "").split())
    return {victim: int(given.get(victim, 0 if given else count)) for victim, count in kills.items()}


@pytest.mark.parametrize(("kills", "wards"), [(SHORT, 1), pytest.param(LONG, 4, marks=pytest.mark.faults)])
def test_kills_under_load_lose_nothing_and_send_nothing_twice(
    tmp_path: Path, kills: dict[str, int], wards: int
) -> None:
    kills, wards = wanted(kills), int(os.environ.get("RTSEG_WARDS", wards))
    seed = int(os.environ.get("RTSEG_SEED", "11"))
    minutes = float(os.environ.get("RTSEG_MINUTES", "inf"))
    began, total, lock, done = time.monotonic(), sum(kills.values()), threading.Lock(), Counter[str]()

    def told(victim: str) -> bool:
        with lock:
            done[victim] += 1
            sys.stderr.write(f"{time.monotonic() - began:6.0f} s, kill {done.total()} of {total}: {victim}\n")
        return time.monotonic() - began < 60 * minutes

    with ExitStack() as stack:
        place = stack.enter_context(template(tmp_path / "template", ENVIRONMENT_OF_STUB)) if wards > 1 else None
        pool = stack.enter_context(ThreadPoolExecutor(wards))
        runs = [
            pool.submit(kill_under_load, tmp_path / f"ward{number}", plan, seed + number, told, place)
            for number, plan in enumerate(plans(kills, wards, random.Random(seed)))
        ]
        counts = sum((run.result() for run in runs), Counter[str]())
    assert minutes < float("inf") or {victim: counts[victim] for victim in kills} == kills
    report("kills", seed=seed, counts=dict(counts), wards=wards, seconds=round(time.monotonic() - began))
