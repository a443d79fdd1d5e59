"""Cards in Ray as the ledger knows them: written by the launcher on duty alone, read by workers and by people.

As long as they are fed, workers of the daemons take no jobs. `feeds` decides that, and everybody asks it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy.orm import Session

from rtseg_daemon.ledger.cluster_tables import Duty
from rtseg_daemon.ledger.leases import database_moment
from rtseg_daemon.ledger.schema import Setting

DUTY = "cards in Ray"
"""Whose launcher keeps the cards: one host at a time."""
KEY = "ray"
HOST_MARK = "ray:"
"""How the host begins in the name of a card's worker: no daemon's name has a colon."""
READY = "ready"
STARTING = "starting"
REFUSED = "refused"
SILENT = "silent"


@dataclass(frozen=True)
class Card:
    """One card of a Ray node, as the launcher last saw it. Times are the database's.

    Args:
        name: of its actor.
        number: among the cards of its node.
        kind: the resource that it is for Ray.
        owner: the name under which its worker leases jobs, another one at every start. Empty while there is none.
        detail: why it is refused, or silent.
    """

    name: str
    node: str
    number: int
    kind: str
    state: str
    since: float
    owner: str = ""
    version: str = ""
    detail: str = ""


@dataclass(frozen=True)
class CardsInRay:
    """What the launcher last wrote.

    Args:
        head: `connecting` at first, then `up` or `away`.
        patience_until: so long cards that start count as if they took jobs.
    """

    head: str
    since: float
    address: str
    detail: str = ""
    patience_until: float = 0.0
    cards: tuple[Card, ...] = ()


def note_cards(session: Session, seen: CardsInRay) -> None:
    """Replace what was written last."""
    session.merge(Setting(key=KEY, value=json.dumps(asdict(seen))))


def cards_in_ray(session: Session) -> CardsInRay | None:
    """What was written last, or None where there never was a launcher."""
    setting = session.get(Setting, KEY, populate_existing=True)
    if setting is None:
        return None
    written = json.loads(setting.value)
    return CardsInRay(**written | {"cards": tuple(Card(**card) for card in written["cards"])})


def feeds(head: str, patience_until: float, states: Sequence[str], on_duty_until: float, now: float) -> bool:
    """Whether jobs are to be left to the cards in Ray. All times are the database's.

    They are not where the launcher is heard of no more, the head is away, or no card can take a job.
    """
    if on_duty_until <= now or head == "away":
        return False
    return now < patience_until or (head == "up" and READY in states)


def ray_feeds(session: Session) -> bool:
    """`feeds`, by what the ledger knows now."""
    seen, duty = cards_in_ray(session), session.get(Duty, DUTY, populate_existing=True)
    if seen is None or duty is None:
        return False
    states = [card.state for card in seen.cards]
    return feeds(seen.head, seen.patience_until, states, duty.until, database_moment(session))


def may_take(session: Session, owner: str, token: int) -> bool:
    """Whether a card may take a job on behalf of the launcher `owner`: that one is on duty now, under this number."""
    duty = session.get(Duty, DUTY, populate_existing=True)
    return duty is not None and (duty.owner, duty.token) == (owner, token) and duty.until > database_moment(session)
