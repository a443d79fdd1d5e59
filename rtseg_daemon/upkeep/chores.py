"""Periodic work. The scheduler only puts names into a queue; one housekeeping thread does what they say."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.assemble.sweep import CLOCK, sweep
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import RtsegError
from rtseg_daemon.ledger.associations import listener
from rtseg_daemon.ledger.engine import database_file, reading
from rtseg_daemon.ledger.views import status_shape
from rtseg_daemon.logs import log
from rtseg_daemon.storage import Layout, write_durably
from rtseg_daemon.upkeep import alarms, audit_trail, retention
from rtseg_daemon.upkeep.backup import back_up, prune
from rtseg_daemon.upkeep.metrics import Facts, metrics_text


@dataclass(frozen=True)
class Upkeep:
    """What every chore works on."""

    config: Config
    layout: Layout
    engine: Engine
    receiver_pid: Callable[[], int | None]
    """Asks for the receiver's process that lives now; None while there is none."""
    finished: dict[str, float] = field(default_factory=dict)
    """Chore -> when it last ended without an error, in seconds since 1970."""


@dataclass(frozen=True)
class Chore:
    """One piece of periodic work and the seconds between two turns."""

    name: str
    every_seconds: float
    work: Callable[[Upkeep], None]


def sweep_series(upkeep: Upkeep) -> None:
    CLOCK.listening = listens(upkeep)
    sweep(upkeep.engine, upkeep.config, time.time())


def listens(upkeep: Upkeep) -> bool:
    """Whether the receiver that lives now has begun to listen: until then silence means nothing."""
    pid = upkeep.receiver_pid()
    with reading(upkeep.engine) as session:
        return pid is not None and pid == listener(session)


def watch_lateness(upkeep: Upkeep) -> None:
    alarms.raise_late(upkeep.engine, upkeep.config.series.late_minutes * 60.0, time.time())


def write_metrics(upkeep: Upkeep) -> None:
    """`metrics.prom`, whole or as it was."""
    now, config = time.time(), upkeep.config
    free = upkeep.layout.free_bytes()
    with reading(upkeep.engine) as session:
        status = status_shape(session, now, round(free / 1e9, 1), config.destination_names)
        late = sum(1 for _ in alarms.late_series(session, now - config.series.late_minutes * 60.0))
    text = metrics_text(Facts(status, late, free, dict(upkeep.finished), now))
    write_durably(upkeep.layout.metrics, text.encode())


def send_alarms(upkeep: Upkeep) -> None:
    alarms.send_pending(upkeep.engine, upkeep.config.alarms)


def remove_old(upkeep: Upkeep) -> None:
    retention.remove_old(upkeep.engine, upkeep.layout, upkeep.config.storage.keep_days * 86400.0, time.time())


def back_up_ledger(upkeep: Upkeep) -> None:
    file = database_file(upkeep.config.database_url)
    if file is not None:
        back_up(file, upkeep.layout.backup)
        prune(upkeep.layout.backup)


def write_audit(upkeep: Upkeep) -> None:
    audit_trail.write_new(upkeep.engine, upkeep.config)


def forward_audit(upkeep: Upkeep) -> None:
    audit_trail.forward(upkeep.config)


def chores_for(config: Config) -> tuple[Chore, ...]:
    """The periodic work; the sweep keeps step with the quiet time, so that a short one is not slept over."""
    return (
        Chore("sweep", min(5.0, max(0.25, config.series.quiet_seconds / 8)), sweep_series),
        Chore("lateness", 30.0, watch_lateness),
        Chore("metrics", 15.0, write_metrics),
        Chore("alarms", 5.0, send_alarms),
        Chore("retention", 3600.0, remove_old),
        Chore("backup", 6 * 3600.0, back_up_ledger),
        Chore("audit", 5.0, write_audit),
        Chore("audit collector", 30.0, forward_audit),
    )


class Housekeeper:
    """APScheduler in front, one working thread behind."""

    def __init__(self, upkeep: Upkeep, chores: tuple[Chore, ...]) -> None:
        self.upkeep = upkeep
        self.chores = {chore.name: chore for chore in chores}
        self.due: queue.Queue[str | None] = queue.Queue()
        self.scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        self.thread = threading.Thread(target=self._work, name="housekeeper", daemon=True)

    def start(self) -> None:
        for chore in self.chores.values():
            self.scheduler.add_job(
                self._enqueue, "interval", seconds=chore.every_seconds, args=[chore.name], misfire_grace_time=None
            )
        self.scheduler.start()
        self.thread.start()

    def stop(self, wait_seconds: float) -> None:
        """Finish the chore at hand, at most `wait_seconds`."""
        self.scheduler.shutdown(wait=False)
        self.due.put(None)
        self.thread.join(wait_seconds)

    def _enqueue(self, name: str) -> None:
        if name not in self.due.queue:
            self.due.put(name)

    def _work(self) -> None:
        while (name := self.due.get()) is not None:
            try:
                self.chores[name].work(self.upkeep)
                self.upkeep.finished[name] = time.time()
            except (SQLAlchemyError, OSError, RtsegError) as error:
                log().error("a chore failed; it is tried again at its next turn", chore=name, exc_info=error)
            except Exception as error:  # noqa: BLE001 - one broken chore must not end the others
                log().critical("a chore broke", chore=name, exc_info=error)
