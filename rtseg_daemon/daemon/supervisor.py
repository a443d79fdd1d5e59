"""`serve`: start the children, keep them alive, watch the running jobs, do the housekeeping, and end in order."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.cluster.place import drop_shelves_of_commands, files_of
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.children import FROZEN_SECONDS, Child, Modules, children_of
from rtseg_daemon.daemon.compared import compare_storage
from rtseg_daemon.daemon.flagged_names import doubtful_names
from rtseg_daemon.daemon.ledger_watch import LedgerWatch
from rtseg_daemon.daemon.startup import (
    check_certificates,
    check_cluster,
    check_shadows,
    prepare_ledger,
    routed_bundles,
    uncalibrated,
    unknown_organs,
    wait_for_port,
)
from rtseg_daemon.daemon.watch import Watch
from rtseg_daemon.daemon.web_start import check_web, invite_first_admin, require_accounts
from rtseg_daemon.errors import ConfigError, RtsegError
from rtseg_daemon.ledger import hosts, supervision
from rtseg_daemon.ledger.duties import duty_owner, lay_down
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.leases import is_of_host
from rtseg_daemon.ledger.loss import LedgerLost, hindrance, loss
from rtseg_daemon.ledger.orphans import expired, requeue_own, take_up_expired, worker_lost
from rtseg_daemon.logs import configure, log
from rtseg_daemon.storage import layout_of, lock_storage
from rtseg_daemon.upkeep import audit_trail
from rtseg_daemon.upkeep.audit_messages import Trail
from rtseg_daemon.upkeep.canaries import admitted
from rtseg_daemon.upkeep.channels import check as check_channels
from rtseg_daemon.upkeep.chores import Housekeeper, Upkeep, chores_for
from rtseg_daemon.upkeep.direct import DirectAlarms

TICK_SECONDS = 0.2
WATCH_SECONDS = 1.0
KILL_SECONDS = 3.0
PULSE_SECONDS = 5.0
STOPPED_SECONDS = 10.0
"""A turn takes a fraction of a second. After so long one the supervisor itself was stopped, or the whole machine."""
LAST_WORDS_SECONDS = 15.0
"""For alarms without the ledger, before the process ends."""
MOST_DEATHS = 3
"""Deaths in a row, none of them after a settled life, until a person is told."""


def serve(config_file: Path, modules: Modules = Modules()) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status.

    Raises RtsegError (configuration, bundle, storage, ledger) before anything is started. `modules` is for tests.
    """
    os.umask(0o077)  # what it writes, and its children after it, is for the service user alone
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    config = load_config(config_file)
    configure(config.logging, "supervisor")
    direct = DirectAlarms(config.alarms, config.storage.directory)
    try:
        return run(config, config_file, modules, stop, direct)
    except (ConfigError, LedgerLost):  # a mistake to be read at the terminal, or told when it was found
        raise
    except (RtsegError, SQLAlchemyError, OSError) as error:
        reason = why(error)
        direct.tell("ledger", f"ended:{reason}", f"the daemon has ended and receives nothing: {reason}")
        if isinstance(error, SQLAlchemyError):
            raise LedgerLost(reason) from error
        raise
    finally:
        direct.wait(LAST_WORDS_SECONDS)


def run(config: Config, config_file: Path, modules: Modules, stop: threading.Event, direct: DirectAlarms) -> int:
    """From the start to the end of everything that `serve` runs. Raises as it does."""
    layout = layout_of(config)
    layout.create()
    bundles = list(routed_bundles(config))
    check_shadows(config)
    check_certificates(config)
    check_cluster(config)
    check_web(config.web)
    check_channels(config.alarms)
    for line in (*unknown_organs(config, bundles), *doubtful_names(config, bundles), *uncalibrated(bundles)):
        log().warning(line)
    lock = lock_storage(layout)
    for port in config.dicom.ports:
        wait_for_port(config.dicom.host, port)
    engine = prepare_ledger(config, layout)
    require_accounts(config, engine)
    compare_storage(engine, layout)
    drop_shelves_of_commands(layout)
    children = children_of(config, config_file, lock, os.environ.get("CUDA_VISIBLE_DEVICES"), modules)
    config = admitted(engine, config, time.time())
    upkeep = Upkeep(
        config,
        layout,
        engine,
        receiver_pid=lambda: children[0].pid,
        duty_owner="" if config.own_host is None else duty_owner("supervisor", config.own_host),
        files=files_of(config, engine, "supervisor"),
    )
    audit_trail.note_start(upkeep.engine, config_file, Trail(config.audit_file), time.time(), config.own_host)
    log().info(
        "started",
        bundles=[f"{bundle.name} {bundle.version}" for bundle in bundles],
        children=[child.name for child in children],
    )
    invite_first_admin(config, engine)
    try:
        Supervisor(upkeep, children, stop, direct).run()
    finally:
        audit_trail.note_stop(Trail(config.audit_file), time.time())
        os.close(lock)
    return 0


def why(error: BaseException) -> str:
    """An error in one line, with what to do where the ledger is lost."""
    return (loss(error) or hindrance(error)) if isinstance(error, SQLAlchemyError) else str(error)


@dataclass
class Supervisor:
    """The main loop and what it remembers between two turns."""

    upkeep: Upkeep
    children: list[Child]
    stop: threading.Event
    direct: DirectAlarms
    lost: list[tuple[str, str]] = field(default_factory=list)
    """Workers that are gone and their reasons, until the ledger has taken note."""
    watched_at: float = 0.0
    turned_at: float = field(default_factory=time.monotonic)
    pulsed_at: float = 0.0

    def __post_init__(self) -> None:
        self.ledger = LedgerWatch(self.direct)
        if self.upkeep.engine.dialect.name == "postgresql":
            self.ledger.place = "the database server of database.url (down? full? network?)"
        timeout = self.upkeep.config.jobs.timeout_seconds
        self.watch = Watch(timeout, stall_seconds=max(60.0, timeout / 3))
        self.own_host = self.upkeep.config.own_host
        self.housekeeper = Housekeeper(self.upkeep, chores_for(self.upkeep.config))

    def run(self) -> None:
        """Startup, main loop, shutdown. Raises LedgerLost where the ledger is gone, damaged or another daemon's."""
        with writing(self.upkeep.engine) as session:
            supervision.forget_processes(session, self.own_host)
            requeue_own(session, self.own_host)
            supervision.note_pulse(session, self.pulse(), self.own_host)
        self.housekeeper.start()
        if self.upkeep.config.query:
            # pynetdicom: 8 MB that only a supervisor needs that asks a PACS
            from rtseg_daemon.assemble.inquiry import Inquiry

            Inquiry(self.upkeep.engine, self.upkeep.config, self.stop).start()
        threading.Thread(target=self._watch_itself, name="self-watch", daemon=True).start()
        try:
            while not self.stop.is_set() and self.ledger.lost is None:
                self.turn()
                self.stop.wait(TICK_SECONDS)
        finally:
            self.shut_down()
        if self.ledger.lost is not None:
            raise LedgerLost(self.ledger.lost)

    def turn(self) -> None:
        """One turn of the main loop. A ledger that cannot be written now is tried again at the next."""
        for child in self.children:
            self._tend(child)
        self._use_ledger(self._charge_lost)
        now = time.monotonic()
        if now - self.turned_at > STOPPED_SECONDS:
            for child in self.children:  # we stood still ourselves, and may have missed their signs of life
                child.heard_at = child.heard_at and now
        self.turned_at = now
        if now - self.watched_at > WATCH_SECONDS:
            self.watched_at = now
            self._kill_frozen(now)
            self._use_ledger(self._stop_overdue)
        if now - self.pulsed_at > PULSE_SECONDS:
            self.pulsed_at = now
            self._use_ledger(self._note_pulse)
            self._use_ledger(self._take_up_expired)
            self._tell_overdue_chores()
        for reason in self.upkeep.lost:
            self.ledger.lose(reason)

    def _watch_itself(self) -> None:
        """Tell a person when the main loop stands still, as it does while a disk does not answer."""
        while not self.stop.wait(PULSE_SECONDS):
            silent = time.monotonic() - self.turned_at
            if silent > FROZEN_SECONDS:
                message = (
                    f"the supervisor stands still for {silent:.0f} s: nothing is watched or restarted, and perhaps "
                    "nothing received. Look at the disk of storage.directory, then restart the service"
                )
                self.direct.tell("process", "process:supervisor", message)

    def _use_ledger(self, work: Callable[[], None]) -> bool:
        """Whether that was possible. Where not, the watch over the ledger hears why."""
        try:
            work()
        except SQLAlchemyError as error:
            self.ledger.failed(error)
            return False
        return True

    def _tend(self, child: Child) -> None:
        owner, pid = child.owner, child.process.pid if child.process else None
        reason = child.note_end()
        if reason:
            log().error("a child ended", child=child.name, pid=pid, reason=reason, deaths=child.deaths)
            self.lost.append((owner, reason))
            self._note(child, "restarting", reason)
            if child.deaths >= MOST_DEATHS:
                self._alarm("process", child.name, f"{child.name} does not stay alive: {reason}; the log says why")
        if child.start_if_due():
            log().info("child started", child=child.name, pid=child.process.pid if child.process else None)
            self._note(child, "running")

    def _kill_frozen(self, now: float) -> None:
        """A process that shows no sign of life any more is killed, so that it is started again."""
        for child in self.children:
            if reason := child.freezes(now):
                log().error("a child is frozen and is killed", child=child.name, pid=child.pid, reason=reason)
                self._note(child, "frozen", reason)
                message = f"{reason}; it is killed and started again. If this comes back, look at disk and memory"
                self._alarm("process", f"frozen:{child.name}", message)
                child.send(signal.SIGKILL)

    def _note(self, child: Child, state: str, detail: str | None = None) -> None:
        pid, host = child.process.pid if child.process else None, self.upkeep.config.host_name

        def note() -> None:
            with writing(self.upkeep.engine) as session:
                supervision.note_process(session, child.name, pid, state, max(child.restarts, 0), detail, host=host)

        self._use_ledger(note)

    def _alarm(self, kind: str, subject: str, message: str) -> None:
        """Once a day, without the ledger where that cannot be written."""
        moment = time.time()
        key = f"{kind}:{subject}:{int(moment // 86400)}"

        def note() -> None:
            with writing(self.upkeep.engine) as session:
                raise_alarm(session, kind, key, message, at=moment)

        if not self._use_ledger(note):
            self.direct.tell(kind, key, message)

    def pulse(self) -> supervision.Pulse:
        now = time.monotonic()
        silent = {child.name: round(child.silence(now), 1) for child in self.children if child.alive and child.heard_at}
        return supervision.Pulse(os.getpid(), now, silent, self.housekeeper.overdue())

    def _note_pulse(self) -> None:
        """Say for `status` how everything is. This also finds out that the ledger cannot be written."""
        with writing(self.upkeep.engine) as session:
            supervision.note_pulse(session, self.pulse(), self.own_host)
            if self.own_host is not None:
                hosts.show(session, self.own_host)
        self.ledger.used()

    def _tell_overdue_chores(self) -> None:
        for name, seconds in self.housekeeper.overdue().items():
            message = f"the periodic work {name!r} has not ended without an error for {seconds:.0f} s; the log says why"
            self._alarm("chore", name, message)

    def _charge_lost(self) -> None:
        while self.lost:
            owner, reason = self.lost[0]
            with writing(self.upkeep.engine) as session:
                jobs = worker_lost(session, owner, reason, self.upkeep.config.jobs.max_attempts)
            self.lost.pop(0)
            for job in jobs:
                log().error("a worker lost its job", job=job.id, state=job.state, attempts=job.attempts)

    def _take_up_expired(self) -> None:
        """Jobs of workers that were heard of no more. Its own are watched more closely, see `_stop_overdue`."""
        engine, living = self.upkeep.engine, [child.owner for child in self.children if child.alive]
        with reading(engine) as session:
            if not expired(session, living):
                return
        with writing(engine) as session:
            jobs = take_up_expired(session, self.upkeep.config.jobs.max_attempts, living)
        for job in jobs:
            log().error("a job was taken up whose lease had run out", job=job.id, state=job.state, reason=job.error)

    def _stop_overdue(self) -> None:
        with reading(self.upkeep.engine) as session:
            running = [job for job in supervision.running_jobs(session) if is_of_host(job.owner, self.own_host)]
        for job, reason in self.watch.overdue(running, time.monotonic()):
            log().error("a job is overdue; its worker is stopped", job=job.job_id, stage=job.stage, reason=reason)
            self.lost.append((job.owner, reason))
            for child in self.children:
                if job.owner.startswith(child.owner):
                    child.send(signal.SIGKILL)

    def shut_down(self) -> None:
        """Ask the children to end, wait `shutdown_seconds`, kill the rest. What ran goes back to the queue."""
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
        self._use_ledger(self._say_goodbye)
        self.upkeep.engine.dispose()
        log().info("stopped")

    def _say_goodbye(self) -> None:
        with writing(self.upkeep.engine) as session:
            if self.upkeep.duty_owner:
                lay_down(session, self.upkeep.duty_owner, self.housekeeper.ended())
            requeue_own(session, self.own_host)
            supervision.forget_processes(session, self.own_host)
            if self.own_host is not None:
                hosts.leave(session, self.own_host)
