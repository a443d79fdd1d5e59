"""`serve`: start the children, keep them alive, watch the running jobs, do the housekeeping, and end in order."""

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.assemble.inquiry import Inquiry
from rtseg_daemon.config.file import load_config
from rtseg_daemon.daemon.children import Child, Modules, children_of
from rtseg_daemon.daemon.startup import (
    check_certificates,
    prepare_ledger,
    routed_bundles,
    unknown_organs,
    wait_for_port,
)
from rtseg_daemon.daemon.watch import Watch
from rtseg_daemon.ledger import supervision
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.jobs import requeue_all_running, worker_lost
from rtseg_daemon.logs import configure, log
from rtseg_daemon.storage import Layout, lock_storage
from rtseg_daemon.upkeep import audit_trail
from rtseg_daemon.upkeep.audit_messages import Trail
from rtseg_daemon.upkeep.chores import Housekeeper, Upkeep, chores_for

TICK_SECONDS = 0.2
WATCH_SECONDS = 1.0
KILL_SECONDS = 3.0
MOST_DEATHS = 3
"""Deaths in a row, none of them after a settled life, until a person is told."""


def serve(config_file: Path, modules: Modules = Modules()) -> int:
    """Run until SIGTERM or SIGINT; returns the exit status.

    Raises RtsegError (configuration, bundle, storage, ledger) before anything is started. `modules` is for tests.
    """
    os.umask(0o077)  # what it writes, and its children after it, is for the service user alone
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    config = load_config(config_file)
    configure(config.logging, "supervisor")
    layout = Layout(config.storage.directory)
    layout.create()
    bundles = list(routed_bundles(config))
    check_certificates(config)
    for line in unknown_organs(config, bundles):
        log().warning(line)
    lock = lock_storage(layout)
    for port in config.dicom.ports:
        wait_for_port(config.dicom.host, port)
    engine = prepare_ledger(config, layout)
    children = children_of(config, config_file, lock, os.environ.get("CUDA_VISIBLE_DEVICES"), modules)
    upkeep = Upkeep(config, layout, engine, receiver_pid=lambda: children[0].pid)
    audit_trail.note_start(upkeep.engine, config_file, Trail(config.audit_file), time.time())
    log().info(
        "started",
        bundles=[f"{bundle.name} {bundle.version}" for bundle in bundles],
        children=[child.name for child in children],
    )
    supervisor = Supervisor(upkeep, children, stop)
    supervisor.run()
    audit_trail.note_stop(Trail(config.audit_file), time.time())
    os.close(lock)
    return 0


@dataclass
class Supervisor:
    """The main loop and what it remembers between two turns."""

    upkeep: Upkeep
    children: list[Child]
    stop: threading.Event
    lost: list[tuple[str, str]] = field(default_factory=list)
    """Workers that are gone and their reasons, until the ledger has taken note."""
    watched_at: float = 0.0

    def __post_init__(self) -> None:
        timeout = self.upkeep.config.jobs.timeout_seconds
        self.watch = Watch(timeout, stall_seconds=max(60.0, timeout / 3))
        self.housekeeper = Housekeeper(self.upkeep, chores_for(self.upkeep.config))

    def run(self) -> None:
        """Startup, main loop, shutdown."""
        with writing(self.upkeep.engine) as session:
            supervision.forget_processes(session)
            requeue_all_running(session)
        self.housekeeper.start()
        if self.upkeep.config.query:
            Inquiry(self.upkeep.engine, self.upkeep.config, self.stop).start()
        try:
            while not self.stop.is_set():
                self.turn()
                self.stop.wait(TICK_SECONDS)
        finally:
            self.shut_down()

    def turn(self) -> None:
        """One turn of the main loop; a ledger that cannot be written now is tried again at the next."""
        for child in self.children:
            self._tend(child)
        try:
            self._charge_lost()
            if time.monotonic() - self.watched_at > WATCH_SECONDS:
                self._stop_overdue()
                self.watched_at = time.monotonic()
        except SQLAlchemyError as error:
            log().error("the ledger cannot be used now; trying again", exc_info=error)

    def _tend(self, child: Child) -> None:
        owner, pid = child.owner, child.process.pid if child.process else None
        reason = child.bury()
        if reason:
            log().error("a child ended", child=child.name, pid=pid, reason=reason, deaths=child.deaths)
            self.lost.append((owner, reason))
            self._note(child, "restarting", reason)
            if child.deaths >= MOST_DEATHS:
                self._alarm(child, reason)
        if child.start_if_due():
            log().info("child started", child=child.name, pid=child.process.pid if child.process else None)
            self._note(child, "running")

    def _note(self, child: Child, state: str, detail: str | None = None) -> None:
        pid = child.process.pid if child.process else None
        try:
            with writing(self.upkeep.engine) as session:
                supervision.note_process(session, child.name, pid, state, max(child.restarts, 0), detail)
        except SQLAlchemyError as error:
            log().error("the ledger cannot be written now", exc_info=error)

    def _alarm(self, child: Child, reason: str) -> None:
        """Once a day for a child that does not stay alive: nothing may be late while nothing is received."""
        moment = time.time()
        message = f"{child.name} does not stay alive: {reason}; the log says why"
        try:
            with writing(self.upkeep.engine) as session:
                raise_alarm(session, "process", f"process:{child.name}:{int(moment // 86400)}", message, at=moment)
        except SQLAlchemyError as error:
            log().error("the ledger cannot be written now", exc_info=error)

    def _charge_lost(self) -> None:
        while self.lost:
            owner, reason = self.lost[0]
            with writing(self.upkeep.engine) as session:
                jobs = worker_lost(session, owner, reason, self.upkeep.config.jobs.max_attempts)
            self.lost.pop(0)
            for job in jobs:
                log().error("a worker lost its job", job=job.id, state=job.state, attempts=job.attempts)

    def _stop_overdue(self) -> None:
        with reading(self.upkeep.engine) as session:
            running = supervision.running_jobs(session)
        for job, reason in self.watch.overdue(running, time.monotonic()):
            log().error("a job is overdue; its worker is stopped", job=job.job_id, stage=job.stage, reason=reason)
            self.lost.append((job.owner, reason))
            for child in self.children:
                if child.owner == job.owner:
                    child.send(signal.SIGKILL)

    def shut_down(self) -> None:
        """Ask the children to end, wait `shutdown_seconds`, kill the rest; what ran goes back to the queue."""
        log().info("stopping")
        for child in self.children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + self.upkeep.config.jobs.shutdown_seconds
        while any(child.alive for child in self.children) and time.monotonic() < deadline:
            time.sleep(0.05)
        for child in self.children:
            if child.alive:
                log().warning("a child did not end in time and is killed", child=child.name)
            child.send(signal.SIGKILL)
            if child.process is not None:
                child.process.wait()
        self.housekeeper.stop(KILL_SECONDS)
        with writing(self.upkeep.engine) as session:
            requeue_all_running(session)
            supervision.forget_processes(session)
        self.upkeep.engine.dispose()
        log().info("stopped")
