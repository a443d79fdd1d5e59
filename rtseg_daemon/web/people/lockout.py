"""Failures in a row make a name, and an address, wait before the next try. Unknown names wait like known ones."""

from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.people import LoginFailure
from rtseg_daemon.web.people.secrets import digest_of

FORGOTTEN_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Patience:
    """`free` failures cost nothing. Each one after them doubles the wait, up to `longest_seconds`."""

    free: int
    first_seconds: float = 30.0
    longest_seconds: float = 900.0

    def wait_seconds(self, failures: int) -> float:
        """How long after so many failures in a row nobody may try."""
        over = failures - self.free
        return 0.0 if over < 0 else min(self.first_seconds * 2.0 ** min(over, 20), self.longest_seconds)


OF_A_NAME = Patience(free=5)
OF_AN_ADDRESS = Patience(free=20)
"""Behind one address there may be a whole department."""


def keys(name: str, address: str) -> list[tuple[str, Patience]]:
    """What is counted of one try. Digests, since people type passwords where the name belongs."""
    return [(digest_of(f"name {name}"), OF_A_NAME), (digest_of(f"address {address}"), OF_AN_ADDRESS)]


def seconds_to_wait(session: Session, name: str, address: str, now: float) -> float:
    """Until the next try is looked at, 0 where it may be made now."""
    waits = [0.0]
    for key, patience in keys(name, address):
        row = session.get(LoginFailure, key)
        if row is not None:
            wait = patience.wait_seconds(row.count)
            waits.append(min(wait, row.last_at + wait - now))  # a clock that was set back locks nobody out for long
    return max(waits)


def note_failure(session: Session, name: str, address: str, now: float) -> None:
    """One more for both. Old ones are forgotten."""
    session.execute(delete(LoginFailure).where(LoginFailure.last_at < now - FORGOTTEN_SECONDS))
    for key, _ in keys(name, address):
        row = session.get(LoginFailure, key)
        if row is None:
            session.add(LoginFailure(key=key, count=1, last_at=now))
        else:
            row.count, row.last_at = row.count + 1, now


def forgive(session: Session, name: str) -> None:
    """The name has logged in. Its address keeps its count: one good account must not cover guesses at others."""
    session.execute(delete(LoginFailure).where(LoginFailure.key == keys(name, "")[0][0]))
