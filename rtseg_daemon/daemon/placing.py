"""Which actors are wanted in Ray, and how each card is, from what Ray and the actors say. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtseg_daemon.ledger.cards import READY, REFUSED, SILENT, STARTING, Card

SILENT_SECONDS = 60.0
"""A card keeps its state for so long without an answer: a library that is loaded may hold all threads of a process."""


@dataclass(frozen=True)
class Place:
    """Where an actor belongs: the card `number` of a living node."""

    name: str
    node_id: str
    node: str
    number: int
    kind: str


def places(nodes: Iterable[Mapping[str, Any]]) -> list[Place]:
    """One for each card of each node. A node that starts anew has another id, and so its actors other names."""
    return [
        Place(f"{node['id'][:16]}-{number}", node["id"], node["name"], number, node["kind"])
        for node in nodes
        for number in range(node["cards"])
    ]


def superfluous(wanted: Iterable[Place], there: Iterable[str]) -> list[str]:
    """Names of actors that belong nowhere: their node is gone, or has fewer cards now."""
    names = {place.name for place in wanted}
    return sorted(name for name in there if name not in names)


def judged(
    place: Place, before: Card | None, said: Mapping[str, Any] | None, silent_seconds: float, now: float
) -> Card:
    """A card by what its actor said, or does not say.

    Args:
        before: how it was.
        said: the actor's answer (`Card.follow`), or `{"silent": why}`, or `{"dead": why}`. None before the first.
        silent_seconds: since the last answer.
        now: the database's time.
    """
    state, detail = STARTING, ""
    owner, version = (before.owner, before.version) if before else ("", "")
    if said is not None and "owner" in said:
        owner, version, detail = said["owner"], said["version"], said["fault"]
        state = REFUSED if detail else READY if said["ready"] else STARTING
    elif said is not None and "dead" in said:
        owner, state, detail = "", REFUSED, f"the card's process cannot start: {said['dead']}"
    elif before is not None:
        late = silent_seconds > SILENT_SECONDS
        state, detail = (SILENT, (said or {}).get("silent", "")) if late else (before.state, before.detail)
    same = before is not None and (before.state, before.owner) == (state, owner)
    since = before.since if same and before else now
    return Card(place.name, place.node, place.number, place.kind, state, since, owner, version, detail)


def lost_owners(before: Sequence[Card], after: Sequence[Card]) -> list[tuple[str, str]]:
    """Workers that are gone, each with the reason: their actor is gone, or lives on under another name."""
    now = {card.name: card for card in after}
    lost = []
    for card in before:
        found = now.get(card.name)
        if card.owner and (found is None or found.owner != card.owner):
            lost.append((card.owner, f"card {card.number} of {card.node} was lost ({why(found)})"))
    return lost


def why(found: Card | None) -> str:
    """What became of a card whose worker is gone."""
    if found is None:
        return "its node is gone"
    return "its process died" if found.owner else found.detail
