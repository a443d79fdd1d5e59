"""Two thousand associations and sixty jobs, one rude destination of each kind beside an honest one: nothing grows.

The daemon is the real one, its network a stub. What its processes weigh in calm moments at the start (when they are
warm), in the middle and at the end is printed as a table, and added to the file that RTSEG_LONG_RUN_TABLE names. Other
numbers: RTSEG_LONG_RUN="associations=200 jobs=6 seconds=40".
"""

import contextlib
import os
import re
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from tests.faults.crowd import PACS, PATIENCE_SECONDS, Crowd, visits
from tests.faults.report import report
from tests.faults.rude_destinations import Kind, every_kind
from tests.faults.weights import Scales
from tests.world import Daemon, Tps, free_port, wait_for, write_config

pytestmark = [
    pytest.mark.faults,
    pytest.mark.peers,
    # pynetdicom leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LONG = {"associations": 2000, "jobs": 60, "seconds": 330}
WARM_SHARE = 0.1
"""Of the associations, after which everything that is loaded once is loaded."""
DRAIN_SECONDS = 180.0
TRIED_SECONDS = 180.0
"""By then each rude destination has ended an attempt, the slowest of which takes over a minute."""
GROWN_MB = 25.0
"""Allowed from the warm start to the end: 14 kB an association."""
MORE = 10
"""Threads or descriptors: ten couriers may hold a socket each at one moment and none at another. Leaks are hundreds."""
HONEST_SECONDS = 30.0
"""From the written structure set to the honest destination. A rude one holds an attempt for 60 s."""


def wanted() -> dict[str, int]:
    """The numbers of this run."""
    given = dict(part.split("=") for part in os.environ.get("RTSEG_LONG_RUN", "").split())
    return {name: int(given.get(name, value)) for name, value in LONG.items()}


class Honest(Tps):
    """Takes everything, and notes when."""

    def __init__(self) -> None:
        super().__init__(answer=self.note)
        self.arrived: list[tuple[str, float]] = []

    def note(self, _number: int, dataset: Dataset) -> int:
        self.arrived.append((str(dataset.SOPInstanceUID), time.time()))
        return 0x0000


@dataclass
class Run:
    """A daemon with a job for ten destinations from each series of the PACS."""

    folder: Path
    honest: Honest = field(default_factory=Honest)
    kinds: list[Kind] = field(default_factory=every_kind)

    def daemon(self) -> Daemon:
        """Not started. Other titles than the PACS's have no route."""
        there = {"host": "127.0.0.1"}
        peers = [
            there | {"name": name_of(k), "ae_title": f"RUDE{k}", "port": kind.rude.port, "send_images": kind.images}
            for k, kind in enumerate(self.kinds)
        ]
        peers.append(there | {"name": "honest", "ae_title": "TPS", "port": self.honest.port})
        route = {"name": "all", "match": {"modality": "CT", "calling_ae": PACS}, "bundle": "tiny"}
        config = write_config(
            self.folder,
            self.honest.port,
            dicom={"port": free_port(), "request_seconds": 2},
            destinations=peers,
            routes=[route | {"destinations": [peer["name"] for peer in peers]}],
            delivery={"first_retry_seconds": 10, "longest_retry_seconds": 120, "probe_seconds": 30},
        )
        return Daemon(config, self.folder / "daemon.log")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "storage" / "rtseg.db", timeout=60)) as connection:
            return connection.execute(query).fetchall()

    def is_calm(self) -> bool:
        return not self.rows("select 1 from association where ending = 'OPEN'")

    def delivered(self) -> int:
        return len(self.rows("select 1 from delivery where destination = 'honest' and state = 'SENT'"))

    def delays(self) -> list[float]:
        """Seconds from each written structure set to its arrival at the honest destination."""
        written = dict(
            self.rows(
                "select job.rtstruct_sop_instance_uid, min(event.at) from event join job on job.id = event.subject_id "
                "where event.subject = 'job' and event.to_state = 'DELIVERING' group by job.id"
            )
        )
        return [at - written[uid] for uid, at in self.honest.arrived]

    def said_of(self, number: int) -> list[tuple[str, str, int]]:
        """State, last comment and attempts of the deliveries to a rude destination."""
        where = f"where destination = '{name_of(number)}'"
        return self.rows(f"select state, coalesce(last_comment, ''), attempts from delivery {where}")

    def scales(self, daemon: Daemon) -> Scales:
        assert daemon.process is not None
        children = {name: pid for name, pid in daemon.pids().items() if pid is not None}
        return Scales({"supervisor": daemon.process.pid} | children)


def name_of(number: int) -> str:
    return f"rude{number}"


def test_two_thousand_associations_and_sixty_jobs_leave_memory_threads_and_descriptors_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers, run, began = wanted(), Run(tmp_path), time.monotonic()
    plan = visits(numbers["associations"], numbers["jobs"])
    with ExitStack() as stack:
        for kind in run.kinds:
            stack.enter_context(kind.rude.running())
        stack.enter_context(run.honest.running())
        daemon = run.daemon().start()
        stack.callback(daemon.kill)
        scales = stack.enter_context(run.scales(daemon).weighing())

        def weigh(moment: str) -> None:
            wait_for(run.is_calm, 60, daemon.tail)
            time.sleep(1)
            scales.mark(moment)

        moments = {round(WARM_SHARE * len(plan)): lambda: weigh("start"), len(plan) // 2: lambda: weigh("middle")}
        crowd = Crowd(daemon.port, plan, numbers["seconds"], moments)
        crowd.run()
        wait_for(lambda: run.delivered() == numbers["jobs"], DRAIN_SECONDS, daemon.tail, 1)
        wait_for(lambda: all(any(c for _, c, _ in run.said_of(k)) for k in range(len(run.kinds))), TRIED_SECONDS)
        weigh("end")
        pids, said = daemon.pids(), [run.said_of(k) for k in range(len(run.kinds))]
        seconds = time.monotonic() - began
        status = daemon.stop()

    delays = run.delays()
    lines = [*scales.table(), "", *destinations(run, said), f"| honest | {len(delays)} | {len(delays)} | |", ""]
    lines += [
        f"{crowd.counts.total()} associations {dict(crowd.counts)}, {len(crowd.failures)} answered otherwise than they "
        f"must be; {len(delays)} structure sets at the honest destination, {len(set(run.honest.arrived))} different, "
        f"worst delay {max(delays):.1f} s, median {sorted(delays)[len(delays) // 2]:.1f} s; longest C-ECHO "
        f"{crowd.worst['echo']:.1f} s; {seconds:.0f} s on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    ]
    tell(lines, capsys)
    report("long run", **numbers, counts=dict(crowd.counts), worst_delay=max(delays), took=round(seconds))

    assert crowd.failures == []
    assert max(crowd.worst.values()) < PATIENCE_SECONDS, "whom the receiver did not hang up on"
    assert {name: pid for name, pid in pids.items() if pid} == {n: p for n, p in scales.pids.items() if n in pids}
    expected = Counter(uid for (uid,) in run.rows("select rtstruct_sop_instance_uid from job"))
    assert Counter(uid for uid, _ in run.honest.arrived) == expected
    assert len(expected) == numbers["jobs"]
    assert set(expected.values()) == {1}
    assert max(delays) < HONEST_SECONDS
    for kind, deliveries in zip(run.kinds, said, strict=True):
        assert not [state for state, _, _ in deliveries if state == "SENT"], kind.name
        assert not [words for _, words, _ in deliveries if words and not re.search(kind.words, words)], kind.name
    for name in scales.pids:
        start, end = scales.marks["start"][name], scales.marks["end"][name]
        assert end.megabytes - start.megabytes < GROWN_MB, name
        assert end.threads <= start.threads + MORE, name
        assert end.descriptors <= start.descriptors + MORE, name
    assert status == 0


def destinations(run: Run, said: list[list[tuple[str, str, int]]]) -> list[str]:
    """Markdown: a row for each rude destination."""
    lines = ["| destination | attempts | sent | what the daemon says |", "|---|---|---|---|"]
    for kind, deliveries in zip(run.kinds, said, strict=True):
        sent = sum(state == "SENT" for state, _, _ in deliveries)
        words = Counter(words for _, words, _ in deliveries if words).most_common(1)
        attempts = sum(count for _, _, count in deliveries)
        lines.append(f"| {kind.name} | {attempts} | {sent} | {words[0][0] if words else ''} |")
    return lines


def tell(lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(lines) + "\n"
    with capsys.disabled():
        print("\n" + text)
    if "RTSEG_LONG_RUN_TABLE" in os.environ:
        with Path(os.environ["RTSEG_LONG_RUN_TABLE"]).open("a") as file:
            file.write(text)
