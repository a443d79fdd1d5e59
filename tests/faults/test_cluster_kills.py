"""Three hosts, one ledger: workers, hosts and the database are killed and links cut, and nothing is lost or sent twice.

RTSEG_JOBS: how many series are sent (1000 in `make faults`). RTSEG_SEED: other moments. RTSEG_FAULT_SECONDS: the mean
time between two faults.
"""

import os
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.config.file import load_config
from rtseg_daemon.ledger import hosts as hosts_of_ledger
from rtseg_daemon.ledger.engine import open_ledger, writing
from rtseg_daemon.ledger.leases import LEASE_SECONDS
from tests.faults.hosts_apart import TITLES, Host, ReachedServer, cluster, namespaces
from tests.faults.killing import DRAIN_SECONDS, Pacs, digest, lives, one_structure_set_each
from tests.faults.report import report
from tests.peers import Storescp
from tests.postgres import program
from tests.ray import Head
from tests.world import patient, wait_for

pytestmark = [
    pytest.mark.peers,
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

HOSTS = 3
BACKLOG = 40
"""Each series is waited for until it is silent."""
CHILDREN = ("worker-0", "receiver", "deliverer", "files")
FAULTS = {"child": 6, "host": 2, "link": 3, "database": 1, "card": 1, "head": 1}
"""How often each comes, relative to the others."""
LINK_SECONDS = (1.0, 45.0)
HOST_SECONDS = (0.0, 30.0)
DATABASE_SECONDS = (0.0, 5.0)
HEAD_SECONDS = (0.0, 30.0)
STUB = {"STUB_SECONDS": "3", "STUB_RESTART_SECONDS": "0.5"}


def pairs(rows: list[Any]) -> dict[Any, Any]:
    """Rows of two columns."""
    return {row[0]: row[1] for row in rows}


@dataclass
class Observer:
    """The ledger as an administrator sees it, whatever happens to its server."""

    engine: Engine

    def rows(self, query: str, **values: Any) -> list[Any]:
        """Raises SQLAlchemyError while the server is down."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), values))

    def patient_rows(self, query: str, **values: Any) -> list[Any]:
        """The same, once the server is there again."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.rows(query, **values)
            except SQLAlchemyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def running_on(self, host: str) -> dict[int, int]:
        """Number and claim of the jobs that a host is at."""
        with suppress(SQLAlchemyError):
            found = self.rows(
                "select id, lease_token from job where state = 'RUNNING' and lease_owner like :host",
                host=f"%@{host}%",
            )
            return pairs(found)
        return {}


@dataclass
class Orphans(threading.Thread):
    """Watches the jobs of workers that died, until another has taken each up."""

    observer: Observer
    waiting: dict[tuple[int, int], float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def left(self, jobs: dict[int, int]) -> None:
        with self.lock:
            self.waiting |= {(job, claim): time.monotonic() for job, claim in jobs.items()}

    def run(self) -> None:
        while not self.over.wait(0.5):
            with suppress(SQLAlchemyError):
                self.look()

    def look(self) -> None:
        claims = pairs(self.observer.rows("select id, lease_token from job where state = 'RUNNING'"))
        with self.lock:
            for key in [key for key in self.waiting if claims.get(key[0]) != key[1]]:
                self.seconds.append(time.monotonic() - self.waiting.pop(key))


@dataclass
class Fate:
    """What goes wrong, at random. Each fault ends before the next one of its kind at the same place begins."""

    hosts: list[Host]
    server: ReachedServer
    observer: Observer
    orphans: Orphans
    rng: random.Random
    cards: Head | None
    counts: Counter[str] = field(default_factory=Counter)
    busy: set[str] = field(default_factory=set)
    threads: list[threading.Thread] = field(default_factory=list)
    troubles: list[BaseException] = field(default_factory=list)

    def strike(self) -> None:
        kind = self.rng.choices(list(FAULTS), list(FAULTS.values()))[0]
        if kind == "database":
            self.begin(kind, "database", lambda: self.server.crash(self.rng.uniform(*DATABASE_SECONDS)))
            return
        if kind in ("card", "head"):
            if self.cards is not None:
                self.begin(kind, "ray", self.kill_card if kind == "card" else self.kill_head)
            return
        host = self.rng.choice(self.hosts)
        if kind == "child":
            self.kill_child(host)
        elif kind == "host" and not any(one.name in self.busy for one in self.hosts):  # two of three stay
            self.begin(kind, host.name, lambda: self.kill_host(host, self.rng.uniform(*HOST_SECONDS)))
        elif kind == "link":
            self.begin(kind, f"{host.name} link", lambda: self.cut(host, self.rng.uniform(*LINK_SECONDS)))

    def begin(self, kind: str, place: str, fault: Callable[[], None]) -> None:
        if place in self.busy:
            return
        self.busy.add(place)
        self.counts[kind] += 1
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {kind} {place}\n")
        thread = threading.Thread(target=self.run, args=(place, fault), daemon=True)
        self.threads.append(thread)
        thread.start()

    def run(self, place: str, fault: Callable[[], None]) -> None:
        try:
            fault()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.troubles.append(error)
        finally:
            self.busy.discard(place)

    def kill_child(self, host: Host) -> None:
        name = self.rng.choice(CHILDREN)
        with suppress(SQLAlchemyError, ProcessLookupError):
            found = self.observer.rows(
                "select pid from process where name = :name and host = :host and pid is not null",
                name=name,
                host=host.name,
            )
            for (pid,) in found:
                if lives(pid):
                    if name.startswith("worker"):
                        self.orphans.left(self.observer.running_on(host.name))
                    os.kill(pid, signal.SIGKILL)
                    self.counts[name] += 1

    def kill_host(self, host: Host, seconds: float) -> None:
        jobs = self.observer.running_on(host.name)
        host.die()
        self.orphans.left(jobs)
        time.sleep(seconds)
        for attempt in range(5):  # the database may be down, or the link cut: an administrator tries again
            try:
                host.daemon.start()
                return
            except AssertionError:
                host.die()
                if attempt == 4:
                    raise
                time.sleep(5)

    def kill_card(self) -> None:
        assert self.cards is not None
        self.orphans.left(self.observer.running_on("ray:"))
        self.cards.kill("ray::StubCard")

    def kill_head(self) -> None:
        """The whole Ray: its head is its only node."""
        assert self.cards is not None
        self.orphans.left(self.observer.running_on("ray:"))
        self.cards.kill()
        time.sleep(self.rng.uniform(*HEAD_SECONDS))
        self.cards.start()

    def cut(self, host: Host, seconds: float) -> None:
        host.space.link("down")
        try:
            time.sleep(seconds)
        finally:
            host.space.link("up")

    def end(self) -> None:
        """Wait until everything is mended."""
        for thread in self.threads:
            thread.join(300)
        assert not any(thread.is_alive() for thread in self.threads)
        assert not self.troubles, self.troubles


Everything = tuple[list[Host], Observer, Storescp, ReachedServer, Head | None]


@contextmanager
def everything(folder: Path, count: int, environment: dict[str, str], ray: bool = False) -> Iterator[Everything]:
    """Hosts, ledger and planning system, and one host more for a Ray."""
    program("initdb")
    with namespaces(count + ray) as spaces:
        node = spaces[-1]
        cards = Head(environment, node.address, node.within, 2) if ray else None
        server = ReachedServer()
        try:
            url = server.new_database()
            tps = Storescp(folder / "tps")
            observer = Observer(create_engine(url, pool_pre_ping=True))
            with tps.running(), cluster(folder, url, spaces, tps.port, environment, cards) as hosts:
                yield hosts, observer, tps, server, cards
            observer.engine.dispose()
        finally:
            server.end()


def senders_of(folder: Path, hosts: list[Host], tps: Storescp, jobs: int, rng: random.Random) -> list[Pacs]:
    """Each sends its share, every attempt to any host that listens, as a balancer would."""
    senders: list[Pacs] = []

    def crowded() -> bool:
        return sum(len(sender.finished) for sender in senders) - len(tps.files) >= BACKLOG

    def anywhere() -> tuple[str, int]:
        for host in rng.sample(hosts, len(hosts)):
            with suppress(OSError), socket.create_connection((host.space.address, host.daemon.port), 1.0):
                break
        return host.space.address, host.daemon.port

    for number in range(len(TITLES)):
        share = jobs // len(TITLES) + (number < jobs % len(TITLES))
        senders.append(Pacs(number, folder / f"pacs{number}", anywhere, crowded, 8, most=share))
    return senders


def test_hosts_links_and_database_fail_and_every_series_has_one_structure_set(tmp_path: Path) -> None:
    jobs, seed = int(os.environ.get("RTSEG_JOBS", "1000")), int(os.environ.get("RTSEG_SEED", "11"))
    pause = float(os.environ.get("RTSEG_FAULT_SECONDS", "8"))
    rng, began = random.Random(seed), time.monotonic()
    ray = find_spec("ray") is not None
    with everything(tmp_path, HOSTS, STUB, ray) as (hosts, observer, tps, server, cards):
        orphans = Orphans(observer)
        fate = Fate(hosts, server, observer, orphans, rng, cards)
        senders = senders_of(tmp_path, hosts, tps, jobs, rng)
        for thread in (orphans, *senders):
            thread.start()
        told = time.monotonic()
        while any(sender.is_alive() for sender in senders) or len(tps.files) < jobs:
            time.sleep(rng.expovariate(1 / pause))
            fate.strike()
            if time.monotonic() - told > 30:
                told = time.monotonic()
                sys.stderr.write(f"{told - began:6.0f} s, {len(tps.files)} of {jobs} delivered\n")
        fate.end()
        finished = [series for sender in senders for series in sender.finished]
        wait_for(lambda: settled(observer, jobs), DRAIN_SECONDS, hosts[0].daemon.tail, 0.5)
        orphans.look()
        orphans.over.set()
        orphans.join()
        objects = nothing_is_lost(observer, hosts, senders)
        one_structure_set_each(tps, finished)
        assert not orphans.waiting
        assert max(orphans.seconds, default=0.0) <= 2 * LEASE_SECONDS
        (by_cards,) = observer.patient_rows("select count(*) from event where what = 'claimed' and who like 'card-%'")
        claims_by_cards = int(by_cards[0])
        tries = pairs(observer.patient_rows("select attempts, count(*) from job group by attempts"))
    report(
        "cluster",
        seed=seed,
        jobs=len(finished),
        objects=objects,
        ray=ray,
        claims_by_cards=claims_by_cards,
        faults=dict(fate.counts),
        transfers_broken=sum(sender.cut_off for sender in senders),
        orphans=len(orphans.seconds),
        orphan_seconds_most=round(max(orphans.seconds, default=0.0), 1),
        attempts={str(number): count for number, count in sorted(tries.items())},
        seconds=round(time.monotonic() - began),
    )


def settled(observer: Observer, jobs: int) -> bool:
    """Whether every series has its result, and nothing is under way any more."""
    states = Counter(pairs(observer.patient_rows("select state, count(*) from job group by state")))
    under_way = sum(states[state] for state in ("QUEUED", "RUNNING", "SEGMENTED", "DELIVERING"))
    return under_way == 0 and states["DELIVERED"] >= jobs


def nothing_is_lost(observer: Observer, hosts: list[Host], senders: list[Pacs]) -> int:
    """Every object that a sender saw acknowledged is kept by one host, with the content that was sent."""
    storages = {host.name: host.daemon.config.parent / "storage" for host in hosts}
    found = observer.patient_rows("select sop_instance_uid, host, path from instance where state = 'KEPT'")
    kept = {uid: storages[host] / path for uid, host, path in found}
    assert len(kept) == len(found), "an object is kept once"
    acknowledged = {uid: content for sender in senders for uid, content in sender.acknowledged.items()}
    assert acknowledged
    assert not [uid for uid in acknowledged if uid not in kept]
    assert not [uid for uid, content in acknowledged.items() if digest(dcmread(kept[uid])) != content]
    return len(acknowledged)


def test_two_workers_do_nearly_twice_as_much_as_one(tmp_path: Path) -> None:
    """Of a network that sleeps, so that two processors are enough for it."""
    jobs, seconds = int(os.environ.get("RTSEG_JOBS", "24")), {}
    jobs = min(jobs, 24)
    with everything(tmp_path, 2, STUB | {"STUB_SECONDS": "4"}) as (hosts, observer, tps, _server, _cards):

        def first() -> tuple[str, int]:
            return hosts[0].space.address, hosts[0].daemon.port

        for number, workers in enumerate((1, 2)):
            for host in hosts:
                assert host.daemon.command("drain", host.name, "--why", "the queue fills").returncode == 0
            sender = Pacs(0, tmp_path / f"round{number}", first, lambda: False)
            for seed in range(jobs):
                assert sender.send(patient(tmp_path / f"{number}-{seed}", 1000 * number + seed))
            wait_for(lambda: waiting(observer) == jobs, 120, hosts[0].daemon.tail)
            began = time.monotonic()
            take_jobs_again(load_config(hosts[0].daemon.config).database_url, [host.name for host in hosts[:workers]])
            wait_for(lambda: waiting(observer) == 0, 600, hosts[0].daemon.tail, 0.1)
            seconds[workers] = time.monotonic() - began
            wait_for(lambda all_of_it=jobs * (number + 1): len(tps.files) == all_of_it, 120)
    ratio = seconds[1] / seconds[2]
    report("workers", jobs=jobs, one=round(seconds[1], 1), two=round(seconds[2], 1), ratio=round(ratio, 2))
    assert ratio >= 1.9


def take_jobs_again(url: str, names: list[str]) -> None:
    """As `drain NAME --undo` does, of all of them at one moment: a command takes seconds to start."""
    engine = open_ledger(url)
    with writing(engine) as session:
        for name in names:
            hosts_of_ledger.set_draining(session, name, False, who="test", why="go")
    engine.dispose()


def waiting(observer: Observer) -> int:
    (row,) = observer.patient_rows("select count(*) from job where state in ('QUEUED', 'RUNNING')")
    return int(row[0])
