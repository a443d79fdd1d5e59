"""The work on what came back, one set after the other. What waits is looked at again, and so is what came too early."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.errors import DutyLost, HostAway, StorageFull
from rtseg_daemon.feedback import known
from rtseg_daemon.feedback.answered import answered
from rtseg_daemon.feedback.candidates import measure_one
from rtseg_daemon.feedback.looking import DAY_SECONDS, Desk, hold_apart, look_at
from rtseg_daemon.feedback.measuring import measure
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.moves import move_returned
from rtseg_daemon.ledger.returned import next_in
from rtseg_daemon.ledger.schema import Series, Setting
from rtseg_daemon.ledger.states import ReturnedState
from rtseg_daemon.logs import describe, log

AGAIN_SECONDS = 30.0
"""Between two looks at what waits."""
AT_WORK = "feedback_at_work"
MOST_DEATHS = 2
"""So often may the process die of one set before it is held apart."""


@dataclass
class Loop:
    """Takes the sets as they come. `clock` is monotonic."""

    desk: Desk
    clock: Callable[[], float] = time.monotonic
    looked_at: float = float("-inf")
    newest_series: int = 0
    later: list[int] = field(default_factory=list)
    compares: OnDuty | None = None
    """Whether candidates are compared here: one host does it for all. None where this host is alone."""
    away: dict[int, float] = field(default_factory=dict)
    """Sets that need a file of a host that did not answer, and until when they are left alone."""
    compare_at: float = float("-inf")

    def turn(self) -> bool:
        """One step. Returns False where nothing is to be done now."""
        if self.clock() - self.looked_at > AGAIN_SECONDS:
            self.looked_at = self.clock()
            self.take_up_again()
        host, off = self.desk.layout.host, [one for one, until in self.away.items() if until > self.clock()]
        with reading(self.desk.engine) as session:
            received = next_in(session, ReturnedState.RECEIVED, host, off)
            paired = next_in(session, ReturnedState.PAIRED, host, off)
        if received is not None:
            self.guarded(received, look_at)
        elif self.later:
            self.guarded(self.later.pop(0), look_at)
        elif paired is not None:
            self.guarded(paired, measure)
        else:
            return self.compare()
        return True

    def compare(self) -> bool:
        """Measure one candidate's contours. Returns False where nothing is to be done now."""
        duty = self.compares
        if self.clock() < self.compare_at or not (duty is None or duty.ours()):
            return False
        try:
            if duty is None:
                return measure_one(self.desk)
            with duty.kept():
                return measure_one(replace(self.desk, engine=duty.ledger))
        except DutyLost as error:
            log().warning("another host compares by now", reason=str(error))
            return False
        except (HostAway, StorageFull) as error:
            log().warning("contours are compared later", reason=str(error))
            self.compare_at = self.clock() + AGAIN_SECONDS
            return False

    def lay_down(self) -> None:
        """Another host may compare from now on: this process ends."""
        if self.compares is not None:
            with suppress(SQLAlchemyError):
                self.compares.lay_down()

    def guarded(self, set_id: int, work: Callable[[Desk, int], ReturnedState]) -> None:
        """Do it, unless this process died of it before: a stranger's file must not stop all others.

        Raises SQLAlchemyError and OSError, after which it is tried again.
        """
        key = at_work(self.desk.layout.host)
        if begin(self.desk.engine, set_id, key) > MOST_DEATHS:
            hold_apart(self.desk, set_id, "reading it ended the process again and again; look at it elsewhere")
        else:
            try:
                work(self.desk, set_id)
            except (SQLAlchemyError, OSError):
                raise
            except (HostAway, StorageFull) as error:
                log().warning("a returned structure set waits", returned_set=set_id, reason=str(error))
                self.away[set_id] = self.clock() + AGAIN_SECONDS
            except Exception as error:  # noqa: BLE001 - a set that breaks must not break the next
                log().error("work on a returned structure set broke", returned_set=set_id, exc_info=error)
                reason = f"an error that nobody foresaw: {describe(error)}; report it"
                hold_apart(self.desk, set_id, reason)
            finally:
                end(self.desk.engine, key)

    def take_up_again(self) -> None:
        """What waits for our own result or its delivery, and what was drawn on a series that has come since."""
        with reading(self.desk.engine) as session:
            waiting = session.scalars(own(self.desk, ReturnedState.WAITING)).all()
            self.later = [row.id for row in waiting if self.is_ready(session, row)]
            newest = session.scalar(select(func.max(Series.id))) or 0
        if newest > self.newest_series:
            self.newest_series, before = newest, self.newest_series
            for set_id in early(self.desk, before):
                with writing(self.desk.engine) as session:
                    move_returned(session, set_id, ReturnedState.RECEIVED, what="its series has come")

    def is_ready(self, session: Session, row: ReturnedSet) -> bool:
        """Whether what it waits for is there, or will not come any more."""
        too_old = time.time() - row.received_at > self.desk.config.feedback.days * DAY_SECONDS
        return too_old or not answered(known.results(session, row.series_id or 0), row.received_at).wait


def early(desk: Desk, before: int) -> list[int]:
    """Sets held apart because nothing here was known of their series, of which one came after series `before`."""
    with reading(desk.engine) as session:
        new = set(session.scalars(select(Series.series_instance_uid).where(Series.id > before)))
        query = own(desk, ReturnedState.APART).where(ReturnedSet.series_id.is_(None))
        return [row.id for row in session.scalars(query) if new & set(row.referenced_series)]


def own(desk: Desk, state: ReturnedState) -> Select[ReturnedSet]:
    """The sets in this state whose file is on this host."""
    return select(ReturnedSet).where(ReturnedSet.state == state, ReturnedSet.host == desk.layout.host)


def at_work(host: str) -> str:
    """Where a host notes which set it is at."""
    return f"{AT_WORK} {host}" if host else AT_WORK


def begin(engine: Engine, set_id: int, key: str = AT_WORK) -> int:
    """Note that a set is at work. Returns how many times in a row it was begun and never ended, this one included."""
    with writing(engine) as session:
        row = session.get(Setting, key)
        before, _, times = (row.value if row else "").partition(":")
        count = int(times) + 1 if before == str(set_id) else 1
        session.merge(Setting(key=key, value=f"{set_id}:{count}"))
    if count > 1:
        log().warning("a returned structure set was begun before", returned_set=set_id, times=count)
    return count


def end(engine: Engine, key: str = AT_WORK) -> None:
    """Note that it came to its end."""
    with writing(engine) as session:
        session.merge(Setting(key=key, value=""))
