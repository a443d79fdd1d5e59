"""Periodic work. The scheduler only says what is due. Each chore has its own thread, so that none waits for another.

APScheduler lives by the wall clock, which may be set by hours or years. Two things keep that from mattering. A chore's
next turn is counted from now (`Every`), so a clock that leaps forward makes one turn due, and not one for each interval
since 1970. And a thread that lives by the monotonic clock looks once a second for turns that lie too far ahead, which
is what a clock set back leaves behind, and makes them due at once.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.assemble.sweep import CLOCK, sweep
from rtseg_daemon.bundles import digests, models_of
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import DutyLost, LedgerError, RtsegError
from rtseg_daemon.ledger.associations import listener
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.loss import loss, quick_check
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.ledger.views import status_shape
from rtseg_daemon.logs import log
from rtseg_daemon.storage import Layout, write_durably
from rtseg_daemon.stored import Files
from rtseg_daemon.upkeep import (
    activation,
    alarms,
    at_once,
    audit_trail,
    certificates,
    digest,
    lateness,
    retention,
    shadowing,
)
from rtseg_daemon.upkeep.backup import back_up, is_due, prune
from rtseg_daemon.upkeep.drift import watch
from rtseg_daemon.upkeep.metrics import Measurements, metrics_text

DAY_SECONDS = 86400.0
BACKUP = "backup"
DRIFT_SECONDS = 600.0
GUARD_INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True)
class Upkeep:
    """What every chore works on."""

    config: Config
    layout: Layout
    engine: Engine
    receiver_pid: Callable[[], int | None]
    """Asks for the receiver's process that lives now, or None while there is none."""
    duty_owner: str = ""
    """This daemon among several hosts. Empty where the ledger is this machine's alone."""
    files: Files | None = None
    """Where images can be read. None stands for the storage alone."""
    finished: dict[str, float] = field(default_factory=dict)
    """Chore -> when it last ended without an error, in seconds since 1970."""
    charted: list[watch.Stamp] = field(default_factory=list)
    """The ledger as the charts saw it last."""
    lost: list[str] = field(default_factory=list)
    """Why the ledger is lost, where a chore found that it is."""


@dataclass(frozen=True)
class Chore:
    """One piece of periodic work and the seconds between two turns."""

    name: str
    every_seconds: float
    work: Callable[[Upkeep], None]
    at_start: bool = False
    """Whether the first turn is at once."""
    for_all: bool = False
    """Whether one of several hosts does it for all that share the ledger."""

    @property
    def patience_seconds(self) -> float:
        """So long after a turn without an error the next one must have ended without one, or somebody is told."""
        return 3 * self.every_seconds + 60.0


def sweep_series(upkeep: Upkeep) -> None:
    CLOCK.listening = listens(upkeep)
    sweep(upkeep.engine, upkeep.config, time.time(), files=upkeep.files)


def listens(upkeep: Upkeep) -> bool:
    """Whether the receiver that lives now has begun to listen: until then silence means nothing."""
    pid = upkeep.receiver_pid()
    with reading(upkeep.engine) as session:
        return pid is not None and pid == listener(session, upkeep.config.files_host)


def watch_lateness(upkeep: Upkeep) -> None:
    lateness.raise_late(upkeep.engine, upkeep.config.series.late_minutes * 60.0, time.time())


def write_metrics(upkeep: Upkeep) -> None:
    """`metrics.prom`, whole or as it was."""
    now, config = time.time(), upkeep.config
    free = upkeep.layout.free_bytes()
    with reading(upkeep.engine) as session:
        status = status_shape(session, now, round(free / 1e9, 1), config.destination_names, host=config.own_host)
        late = sum(1 for _ in lateness.late_series(session, now - config.series.late_minutes * 60.0))
    text = metrics_text(Measurements(status, late, free, dict(upkeep.finished), now))
    write_durably(upkeep.layout.metrics, text.encode())


def send_alarms(upkeep: Upkeep) -> None:
    """What is to be told at once, the digest where its time has come, then all that is not sent yet."""
    at_once.raise_new(upkeep.engine, upkeep.config.alarms.at_once, time.time())
    digest.raise_due(upkeep.engine, upkeep.config, upkeep.layout, time.time())
    alarms.send_pending(upkeep.engine, upkeep.config.alarms)


def remove_old(upkeep: Upkeep) -> None:
    config = upkeep.config
    answered = config.feedback.days * DAY_SECONDS if config.takes_feedback else 0.0
    retention.remove_old(upkeep.engine, upkeep.layout, config.storage.keep_days * DAY_SECONDS, time.time(), answered)


def back_up_ledger(upkeep: Upkeep) -> None:
    """A backup at the start, and then whenever the newest is too old, however often the daemon is started again."""
    file, now = database_file(upkeep.config.database_url), time.time()
    if file is None or (BACKUP in upkeep.finished and not is_due(upkeep.layout.backup, now)):
        return
    try:
        back_up(file, upkeep.layout.backup)
    except LedgerError as error:
        message = f"no backup of the ledger could be made: {error}"
        with writing(upkeep.engine) as session:
            raise_alarm(session, "backup", f"backup:{int(now // 86400)}", message, at=now)
        raise
    prune(upkeep.layout.backup)


def check_ledger(upkeep: Upkeep) -> None:
    """Raises LedgerDamaged where SQLite finds the file damaged."""
    quick_check(upkeep.engine)


def watch_certificates(upkeep: Upkeep) -> None:
    certificates.watch(upkeep.engine, upkeep.config)


def write_audit(upkeep: Upkeep) -> None:
    audit_trail.write_new(upkeep.engine, upkeep.config)


def forward_audit(upkeep: Upkeep) -> None:
    audit_trail.forward(upkeep.config)


def tell_activations(upkeep: Upkeep) -> None:
    """Events of bundles that were activated or rolled back where the command itself could not write them."""
    for name, step in activation.tell(upkeep.engine, models_of(upkeep.config)):
        log().warning("another version of a bundle serves", bundle=name, version=step.after, who=step.who)


def shadow(upkeep: Upkeep) -> None:
    """Candidates contour what was delivered."""
    shadowing.make_shadows(upkeep.engine, upkeep.config, time.time())


def watch_drift(upkeep: Upkeep) -> None:
    """Charts and coverage, wherever anything is new."""
    with reading(upkeep.engine) as session:
        now = watch.stamp(session)
    if upkeep.charted != [now]:
        watch.raise_drift(upkeep.engine, digests(models_of(upkeep.config)), time.time())
        upkeep.charted[:] = [now]


def chores_for(config: Config) -> tuple[Chore, ...]:
    """The periodic work. The sweep keeps step with the quiet time, so that a short one is not slept over."""
    return (
        Chore("sweep", min(5.0, max(0.25, config.series.quiet_seconds / 8)), sweep_series, for_all=True),
        Chore("lateness", 30.0, watch_lateness, for_all=True),
        Chore("shadows", 5.0, shadow, for_all=True),
        Chore("metrics", 15.0, write_metrics),
        Chore("drift", DRIFT_SECONDS, watch_drift, for_all=True),
        Chore("alarms", 5.0, send_alarms, for_all=True),
        Chore("retention", 3600.0, remove_old),
        Chore(BACKUP, 300.0, back_up_ledger, at_start=True),
        Chore("certificates", 3600.0, watch_certificates),
        Chore("ledger check", 600.0, check_ledger),
        Chore("bundle versions", 5.0, tell_activations, at_start=True),
        Chore("audit", 5.0, write_audit, for_all=True),
        Chore("audit collector", 30.0, forward_audit),
    )


class Every(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """Due `seconds` after now, however long ago the last turn was."""

    def __init__(self, seconds: float) -> None:
        self.interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + self.interval


def astray(next_turn: datetime, now: datetime, interval: timedelta) -> bool:
    """Whether a turn lies further ahead than it could if the clock had not been set back."""
    return next_turn - now > interval + GUARD_INTERVAL


class Hand(threading.Thread):
    """One chore's thread."""

    def __init__(self, chore: Chore, upkeep: Upkeep) -> None:
        super().__init__(name=chore.name, daemon=True)
        self.chore = chore
        self.upkeep = upkeep
        self.due = threading.Event()
        self.over = False
        self.duty = OnDuty(
            upkeep.engine, chore.name, upkeep.duty_owner, alone=not (chore.for_all and upkeep.duty_owner)
        )
        self.well_at = time.monotonic()
        """When the chore last ended without an error, or was begun with."""

    def run(self) -> None:
        while self.due.wait() and not self.over:
            self.due.clear()
            self._turn()

    def end(self) -> None:
        """No further turn."""
        self.over = True
        self.due.set()

    def overdue(self, now: float) -> float | None:
        """Seconds since it last ended without an error, if that is longer than it may be."""
        silent = now - self.well_at
        return silent if silent > self.chore.patience_seconds else None

    def _turn(self) -> None:
        name = self.chore.name
        try:
            if self.duty.ours():
                with self.duty.kept():
                    self.chore.work(replace(self.upkeep, engine=self.duty.ledger))
            self._ended_well()
        except DutyLost as error:
            log().warning("another host does a chore by now", chore=name, reason=str(error))
            self._ended_well()
        except (SQLAlchemyError, OSError, RtsegError) as error:
            log().error("a chore failed; it is tried again at its next turn", chore=name, exc_info=error)
            if reason := loss(error):
                self.upkeep.lost.append(reason)
        except Exception as error:  # noqa: BLE001 - one broken chore must not end the others
            log().critical("a chore broke", chore=name, exc_info=error)

    def _ended_well(self) -> None:
        self.upkeep.finished[self.chore.name] = time.time()
        self.well_at = time.monotonic()


class Housekeeper:
    """APScheduler in front, a thread for each chore behind."""

    def __init__(self, upkeep: Upkeep, chores: tuple[Chore, ...]) -> None:
        self.hands = [Hand(chore, upkeep) for chore in chores]
        self.scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        self.stopping = threading.Event()
        self.guard = threading.Thread(target=self._keep_time, name="time-guard", daemon=True)

    def start(self) -> None:
        for hand in self.hands:
            self.scheduler.add_job(hand.due.set, Every(hand.chore.every_seconds), misfire_grace_time=None)
            hand.start()
            if hand.chore.at_start:
                hand.due.set()
        self.scheduler.start()
        self.guard.start()

    def stop(self, wait_seconds: float) -> None:
        """Let the chores at hand finish, at most `wait_seconds` all together."""
        self.stopping.set()
        self.scheduler.shutdown(wait=False)
        deadline = time.monotonic() + wait_seconds
        for hand in self.hands:
            hand.end()
        for hand in self.hands:
            hand.join(max(0.0, deadline - time.monotonic()))

    def ended(self) -> list[str]:
        """Chores that nobody is at, and nobody will be again."""
        return [hand.chore.name for hand in self.hands if not hand.is_alive()]

    def overdue(self) -> dict[str, float]:
        """Chore -> seconds, for every one that has not ended without an error for too long."""
        now = time.monotonic()
        return {hand.chore.name: late for hand in self.hands if (late := hand.overdue(now)) is not None}

    def _keep_time(self) -> None:
        while not self.stopping.wait(GUARD_INTERVAL.total_seconds()):
            self.mend_times()

    def mend_times(self) -> None:
        """Make due at once what a clock that was set back has put off."""
        now = datetime.now(self.scheduler.timezone)
        for job in self.scheduler.get_jobs():
            if astray(job.next_run_time, now, job.trigger.interval):
                log().warning("the clock was set back; periodic work goes on", seconds=str(job.next_run_time - now))
                job.modify(next_run_time=now)
