"""Whether a worker may take jobs now. Asked in the transaction that claims, so that two never both think so."""

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from rtseg_daemon.ledger.cards import may_take, ray_feeds


class Permit(Protocol):
    """Args:
    warm: whether bundles are loaded before the first job.
    patience_seconds: how long they stay loaded without the permit.
    """

    @property
    def warm(self) -> bool: ...

    @property
    def patience_seconds(self) -> float: ...

    def given(self, session: Session) -> bool:
        """Whether a job may be taken."""

    def note(self, loaded: bool) -> None:
        """Hears whether the bundles of all routes are loaded."""


@dataclass(frozen=True)
class Always:
    """Of a worker of a daemon that has no cards in Ray."""

    warm: bool = True
    patience_seconds: float = 0.0

    def given(self, session: Session) -> bool:  # noqa: ARG002 - whatever the ledger says
        return True

    def note(self, loaded: bool) -> None: ...


ALWAYS = Always()


@dataclass(frozen=True)
class WhileRayRests:
    """Of a worker of a daemon with cards in Ray: it takes jobs while those are not fed.

    It loads what a job needs with the first one, and lets it go at once: the card may be one of those in Ray.
    """

    warm: bool = False
    patience_seconds: float = 0.0

    def given(self, session: Session) -> bool:
        return not ray_feeds(session)

    def note(self, loaded: bool) -> None: ...


@dataclass
class OnBehalf:
    """Of a card in Ray: it takes jobs while the launcher that asked it to last is on duty.

    It stays loaded for a minute without, since another launcher takes over meanwhile.
    """

    launcher: tuple[str, int] | None = None
    """Owner and number of that launcher's duty."""
    warm: bool = True
    patience_seconds: float = 60.0
    loaded: bool = False

    def given(self, session: Session) -> bool:
        return self.launcher is not None and may_take(session, *self.launcher)

    def note(self, loaded: bool) -> None:
        self.loaded = loaded
