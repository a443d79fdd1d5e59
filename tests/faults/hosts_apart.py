"""Hosts of a cluster in network namespaces of their own: one bridge, one link each, which can be cut."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.faults.killing import ForkedDaemon, lives
from tests.postgres import QUICK, Server
from tests.ray import Head
from tests.template import template
from tests.world import wait_for, write_config

BRIDGE, NET = "rtseg-t0", "10.203.0"
HERE = f"{NET}.1"
"""Where senders, the planning system and the database are."""
TITLES = ("PACS0", "PACS1")
QUIET_SECONDS = 30.0
"""The default, and longer than a sender needs to send a series again that was cut off."""
ASKER = "PACS"
"""Who asks whether a daemon is up."""


def ip(*words: str) -> str:
    """What `ip` of iproute2 says."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def need_namespaces() -> None:
    """Skip the test where no namespace can be made."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")


@dataclass(frozen=True)
class Namespace:
    """One host's network. Its link is `veth` on our side."""

    number: int

    @property
    def name(self) -> str:
        return f"rtseg-t{self.number}"

    @property
    def veth(self) -> str:
        return f"rtseg-v{self.number}"

    @property
    def address(self) -> str:
        return f"{NET}.{10 + self.number}"

    @property
    def within(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def link(self, state: str) -> None:
        """`up`, or `down`: nothing comes through and nobody is told."""
        ip("link", "set", self.veth, state)


def tear_down(count: int) -> None:
    for number in range(1, count + 1):
        space = Namespace(number)
        with contextlib.suppress(subprocess.CalledProcessError):
            for pid in ip("netns", "pids", space.name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", space.name)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", space.veth)  # it goes with its namespace, once the last process there has ended
    with contextlib.suppress(subprocess.CalledProcessError):
        ip("link", "del", BRIDGE)


@contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    """So many hosts on one bridge. Whatever runs in them ends with the block."""
    need_namespaces()
    tear_down(count)
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{HERE}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        spaces = [Namespace(number) for number in range(1, count + 1)]
        for space in spaces:
            ip("netns", "add", space.name)
            ip("link", "add", space.veth, "type", "veth", "peer", "name", "eth0", "netns", space.name)
            ip("link", "set", space.veth, "master", BRIDGE, "up")
            ip("-n", space.name, "addr", "add", f"{space.address}/24", "dev", "eth0")
            ip("-n", space.name, "link", "set", "eth0", "up")
            ip("-n", space.name, "link", "set", "lo", "up")
        yield spaces
    finally:
        tear_down(count)


class ReachedServer(Server):
    """PostgreSQL that the namespaces reach by TCP."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind((HERE, 0))
            self.port = probe.getsockname()[1]
        super().__init__((*QUICK, f"listen_addresses={HERE}", f"port={self.port}", "max_connections=100"))

    def start(self) -> None:
        rules = self.data / "pg_hba.conf"
        line = f"host all all {NET}.0/24 trust\n"
        if line not in rules.read_text():
            with rules.open("a") as file:
                file.write(line)
        super().start()

    def url(self, database: str = "postgres", user: str = "rtseg") -> str:
        return f"postgresql+psycopg://{user}@{HERE}:{self.port}/{database}?connect_timeout=5"

    def crash(self, seconds: float) -> None:
        """End it as a power cut would, and start it again later."""
        self.stop("immediate")
        time.sleep(seconds)
        self.start()


@dataclass
class Host:
    """One host: its network and its daemon, whose processes are forked off a template inside of the namespace."""

    space: Namespace
    daemon: ForkedDaemon
    template: int

    @property
    def name(self) -> str:
        return self.space.name

    def pids(self) -> list[int]:
        """Everything that runs there but the template."""
        found = [int(pid) for pid in ip("netns", "pids", self.space.name).split()]
        return [pid for pid in found if pid != self.template and lives(pid)]

    def die(self) -> None:
        """Every process at once, as when the machine stops."""
        victims = self.pids()
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(lives, victims)), 30, pause=0.05)
        if self.daemon.process is not None:
            self.daemon.process.wait()
            self.daemon.forget()


def configuration(
    folder: Path, space: Namespace, url: str, tps_port: int, authority: Authority, **more: object
) -> Path:
    """Of one host: a listener and a server of files on its own address."""
    folder.mkdir()
    pair = authority.issue(space.name, san=f"IP:{space.address}")
    tls = {"certificate": str(pair.certificate), "key": str(pair.key), "ca": str(authority.certificate)}
    return write_config(
        folder,
        tps_port,
        database={"url": url, "host_name": space.name},
        cluster={"host": space.address, "port": 11443, "tls": tls},
        dicom={
            "host": space.address,
            "port": 11112,
            "allowed_callers": [{"ae_title": title, "host": HERE} for title in (*TITLES, ASKER)],
        },
        destinations=[{"name": "tps", "ae_title": "TPS", "host": HERE, "port": tps_port}],
        series={"quiet_seconds": QUIET_SECONDS},
        jobs={"max_attempts": 10_000, "shutdown_seconds": 10},
        delivery={"first_retry_seconds": 0.5, "longest_retry_seconds": 2, "probe_seconds": 3},
        **more,
    )


@contextmanager
def cluster(
    folder: Path, url: str, spaces: Sequence[Namespace], tps_port: int, environment: dict[str, str], cards: Head | None
) -> Iterator[list[Host]]:
    """A daemon in each namespace on one ledger, all started. With `cards`, their jobs go to a Ray first."""
    authority = Authority(folder / "ca")
    compute: dict[str, object] = {}
    if cards is not None:
        client = f"ray://{cards.host}:{cards.client_port}"
        compute = {"compute": {"cluster": client, "cluster_token": str(cards.token)}}
    with ExitStack() as stack:
        hosts = []
        if cards is not None:
            node = next(space for space in spaces if space.address == cards.host)
            file = configuration(folder / node.name, node, url, tps_port, authority)
            cards.environment["RTSEG_CONFIG"] = str(file)
            stack.callback(cards.end)
            cards.start()
        for space in spaces:
            if cards is not None and space.address == cards.host:
                continue
            config = configuration(folder / space.name, space, url, tps_port, authority, **compute)
            also = ("rtseg_daemon.daemon.files", "psycopg")
            place = stack.enter_context(template(folder / f"{space.name}.sock", environment, space.within, also))
            daemon = ForkedDaemon(
                config,
                config.parent / "daemon.log",
                host=space.address,
                environment={"STUB_TEMPLATE": str(place)},
            )
            (waiting,) = (int(pid) for pid in ip("netns", "pids", space.name).split())
            hosts.append(Host(space, daemon, waiting))
        try:
            for host in hosts:
                host.daemon.start()
            yield hosts
        finally:
            for host in hosts:
                host.space.link("up")
            for host in hosts:
                if host.daemon.process is not None and host.daemon.process.poll() is None:
                    host.daemon.stop()
