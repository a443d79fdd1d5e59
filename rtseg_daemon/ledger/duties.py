"""Duties: work that one host at a time does for all, and that another takes over when its owner is heard of no more.

A duty is a lease. Its token grows with every new owner, so that one who was away, and does not know it yet, can write
nothing: whoever works on duty uses the ledger as `OnDuty.ledger`, which looks at the token in every transaction. While
he is at something `OnDuty.kept` renews the lease.
"""

import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from rtseg_daemon.errors import DutyLost
from rtseg_daemon.ledger.cluster_tables import Duty
from rtseg_daemon.ledger.engine import asking_first, writing
from rtseg_daemon.ledger.kept import kept
from rtseg_daemon.ledger.leases import database_moment

DUTY_SECONDS = 30.0
"""How long a duty outlives the last sign of its owner. Another takes it over within two of these."""
PATIENCE_SECONDS = 900.0
"""So long a duty is kept for work that does not look into the ledger. Work that hangs must not keep others from it."""


def duty_owner(process: str, host: str) -> str:
    """A process's name for its duties, another one at every start: `ct-host/deliverer-4711-9f3a1c`."""
    return f"{host}/{process}-{os.getpid()}-{secrets.token_hex(3)}"


def take(session: Session, name: str, owner: str, seconds: float = DUTY_SECONDS) -> int | None:
    """Take a duty that is free, or keep one's own. Returns its token, or None while it is another's."""
    now = database_moment(session)
    duty = session.get(Duty, name)
    if duty is None:
        duty = Duty(name=name, owner=owner, token=1, until=now + seconds)
        session.add(duty)
    elif duty.owner == owner:
        duty.until = now + seconds
    elif duty.until > now:
        return None
    else:
        duty.owner, duty.token, duty.until = owner, duty.token + 1, now + seconds
    return duty.token


def require(session: Session, name: str, owner: str, token: int) -> None:
    """Raise DutyLost unless the duty still has this owner and token. Its time may have run out meanwhile."""
    duty = session.get(Duty, name)
    if duty is None or (duty.owner, duty.token) != (owner, token):
        raise DutyLost(f"{name} is now the duty of {duty.owner if duty else 'nobody'}")


def lay_down(session: Session, owner: str, names: Collection[str]) -> None:
    """These duties are free at once, as far as they are this owner's. Nobody may be at their work any more."""
    session.execute(update(Duty).where(Duty.owner == owner, Duty.name.in_(names)).values(until=0.0))


def done_now(session: Session) -> set[str]:
    """The names of all duties that somebody has now."""
    return set(session.scalars(select(Duty.name).where(Duty.until > database_moment(session))))


@dataclass
class OnDuty:
    """One duty as one process sees it. Asked before every piece of work, it writes three times in its lease at most.

    Args:
        owner: host and process, another one at every start.
        alone: whether the ledger is this machine's alone. Then every duty is ours, and nothing is written.
    """

    engine: Engine
    name: str
    owner: str
    alone: bool = False
    seconds: float = DUTY_SECONDS
    token: int | None = None
    asked_at: float = field(default=float("-inf"))
    used_at: float = field(default=float("-inf"))
    """When the work last looked into the ledger."""

    @property
    def ledger(self) -> Engine:
        """The ledger for this work. A block that reads or writes it raises DutyLost where another has the duty."""
        return self.engine if self.alone else asking_first(self.engine, self.require)

    def require(self, session: Session) -> None:
        """Raise DutyLost where another has it. Else a sign that the work goes on."""
        self._require(session)
        self.used_at = time.monotonic()

    def _require(self, session: Session) -> None:
        token = self.token
        if token is None:
            raise DutyLost(f"{self.name} is another host's duty")
        try:
            require(session, self.name, self.owner, token)
        except DutyLost:
            self.forget()
            raise

    def forget(self) -> None:
        """It is not ours before it was asked for again."""
        self.token, self.asked_at = None, float("-inf")

    def lay_down(self) -> None:
        """Somebody else may take it over at once: this process ends in order."""
        if self.token is not None:
            self.forget()
            with writing(self.engine) as session:
                lay_down(session, self.owner, [self.name])

    def ours(self) -> bool:
        """Whether the work is ours now. Raises SQLAlchemyError where the ledger cannot be asked."""
        if self.alone:
            return True
        if time.monotonic() - self.asked_at >= self.seconds / 3:
            self.token = None  # until we know
            with writing(self.engine) as session:
                token = take(session, self.name, self.owner, self.seconds)
            self.token, self.asked_at = token, time.monotonic()
        return self.token is not None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep it while the block runs. It is let go where the work looks into the ledger no more (PATIENCE_SECONDS).

        The block learns by `ledger` and `renew` that it was lost, or that the ledger is away.
        """
        if self.alone:
            yield
            return
        self.used_at = time.monotonic()
        with kept(self._keep, self.seconds / 6):
            yield

    def _keep(self) -> None:
        now = time.monotonic()
        if now - self.used_at > PATIENCE_SECONDS:
            self.forget()
            raise DutyLost(f"nothing came of {self.name} for {PATIENCE_SECONDS:.0f} s; another host may do it")
        if now - self.asked_at >= self.seconds / 3:
            self.renew()

    def renew(self) -> None:
        """Have it for its whole time from now on. Raises DutyLost where another has taken it over."""
        if self.alone:
            return
        with writing(self.engine) as session:
            self._require(session)
            take(session, self.name, self.owner, self.seconds)
        self.asked_at = time.monotonic()

    def writing(self) -> AbstractContextManager[Session]:
        """`engine.writing`, as long as the work is ours. Raises DutyLost where another has taken it over."""
        return writing(self.ledger)
