"""Which actors are wanted in Ray, how a card is by what its actor says, and whose job was lost."""

from dataclasses import replace

import pytest

from rtseg_daemon.daemon.placing import SILENT_SECONDS, Place, judged, lost_owners, places, superfluous
from rtseg_daemon.ledger.cards import Card

NODE = {"id": "0123456789abcdef0123456789abcdef", "name": "gpu1", "kind": "GPU", "cards": 2}
PLACE = Place("0123456789abcdef-0", NODE["id"], "gpu1", 0, "GPU")
READY = Card(PLACE.name, "gpu1", 0, "GPU", "ready", 5.0, "card-0@ray:gpu1/7-abc", "1.0")
SAID = {"owner": READY.owner, "version": "1.0", "fault": "", "ready": True}


def test_every_card_of_every_node_gets_one_actor() -> None:
    found = places([NODE, NODE | {"id": "f" * 32, "name": "gpu2", "cards": 1}])
    assert [(place.node, place.number) for place in found] == [("gpu1", 0), ("gpu1", 1), ("gpu2", 0)]
    assert len({place.name for place in found}) == 3


def test_actors_of_a_node_that_is_gone_belong_nowhere() -> None:
    found = places([NODE])
    there = [place.name for place in found] + ["fedcba9876543210-0"]
    assert superfluous(found, there) == ["fedcba9876543210-0"]
    assert superfluous(places([NODE | {"cards": 1}]), there) == [found[1].name, "fedcba9876543210-0"]


@pytest.mark.parametrize(
    ("said", "silent", "state", "detail"),
    [
        (SAID, 0.0, "ready", ""),
        (SAID | {"ready": False}, 0.0, "starting", ""),
        (SAID | {"fault": "other version"}, 0.0, "refused", "other version"),
        ({"silent": "does not answer"}, SILENT_SECONDS, "ready", ""),
        ({"silent": "does not answer"}, SILENT_SECONDS + 1, "silent", "does not answer"),
        (None, SILENT_SECONDS + 1, "silent", ""),
    ],
)
def test_a_card_is_as_its_actor_says(said: dict[str, object] | None, silent: float, state: str, detail: str) -> None:
    card = judged(PLACE, READY, said, silent, 9.0)
    assert (card.state, card.detail, card.owner) == (state, detail, READY.owner)
    assert card.since == (5.0 if state == "ready" else 9.0)


def test_an_actor_that_cannot_start_says_why_and_has_no_worker() -> None:
    card = judged(PLACE, READY, {"dead": "ModuleNotFoundError: No module named 'rtseg_daemon'"}, 0.0, 9.0)
    assert (card.state, card.owner) == ("refused", "")
    assert card.detail == "the card's process cannot start: ModuleNotFoundError: No module named 'rtseg_daemon'"


def test_a_worker_is_lost_with_its_process_or_its_node_and_not_by_silence() -> None:
    anew = replace(READY, owner="card-0@ray:gpu1/8-def", state="starting")
    assert lost_owners([READY], [READY]) == []
    assert lost_owners([READY], [replace(READY, state="silent")]) == []
    assert lost_owners([READY], [anew]) == [(READY.owner, "card 0 of gpu1 was lost (its process died)")]
    assert lost_owners([READY], []) == [(READY.owner, "card 0 of gpu1 was lost (its node is gone)")]
    assert lost_owners([replace(READY, owner="")], [anew]) == [], "it had not begun yet"
