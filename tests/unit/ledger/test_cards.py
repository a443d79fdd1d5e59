"""Who takes jobs, cards in Ray or workers of the daemons: one question, one answer at a time."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger.cards import (
    DUTY,
    READY,
    Card,
    CardsInRay,
    cards_in_ray,
    feeds,
    may_take,
    note_cards,
    ray_feeds,
)
from rtseg_daemon.ledger.duties import take
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.host_views import card_shapes
from rtseg_daemon.ledger.jobs import claim_job
from rtseg_daemon.ledger.leases import LEASE_SECONDS, new_owner
from tests.unit.ledger.test_jobs import new_job

NOW = 1000.0
CARD = Card("a-0", "gpu1", 0, "GPU", READY, NOW, "card-0@ray:gpu1/7-abc", "1.0")
SEEN = CardsInRay("up", NOW, "ray://head:10001", cards=(CARD,))


@pytest.mark.parametrize(
    ("head", "patience", "states", "on_duty", "fed"),
    [
        ("up", 0.0, ["ready"], 1, True),
        ("up", 0.0, ["refused", "ready"], 1, True),
        ("up", 0.0, ["starting", "refused", "silent"], 1, False),
        ("up", NOW + 1, ["starting"], 1, True),
        ("up", 0.0, [], 1, False),
        ("connecting", NOW + 1, [], 1, True),
        ("connecting", NOW, ["ready"], 1, False),
        ("away", NOW + 1, ["ready"], 1, False),
        ("up", NOW + 1, ["ready"], 0, False),
    ],
    ids=[
        "a card is ready",
        "one of two is ready",
        "no card can take a job",
        "a card that was lost starts anew",
        "nodes without cards",
        "the launcher connects for the first time",
        "it connects for too long",
        "the head is away",
        "the launcher is heard of no more",
    ],
)
def test_jobs_are_left_to_cards_in_ray_while_one_of_them_can_take_some(
    head: str, patience: float, states: list[str], on_duty: float, fed: bool
) -> None:
    assert feeds(head, patience, states, NOW + on_duty, NOW) is fed


def test_workers_and_cards_never_both_think_that_they_may_take_a_job(ledger: Engine) -> None:
    def who() -> tuple[bool, bool]:
        with reading(ledger) as session:
            return ray_feeds(session), may_take(session, "north/launcher-1", 1)

    assert who() == (False, False), "no launcher yet"
    with writing(ledger) as session:
        assert take(session, DUTY, "north/launcher-1") == 1
        note_cards(session, SEEN)
    assert who() == (True, True)
    with writing(ledger) as session:
        take(session, DUTY, "north/launcher-1", -1.0)
    assert who() == (False, False), "its time has run out"
    with writing(ledger) as session:
        assert take(session, DUTY, "south/launcher-9") == 2
    assert who() == (True, False), "the card waits until the new launcher asks it"


def test_a_card_of_the_launcher_before_takes_nothing(ledger: Engine) -> None:
    with writing(ledger) as session:
        take(session, DUTY, "north/launcher-1", -1.0)
        take(session, DUTY, "south/launcher-9")
    with reading(ledger) as session:
        assert not may_take(session, "north/launcher-1", 1)
        assert not may_take(session, "south/launcher-9", 1)
        assert may_take(session, "south/launcher-9", 2)


def test_status_shows_each_card_with_its_node_state_and_job(ledger: Engine) -> None:
    job = new_job(ledger)
    with writing(ledger) as session:
        note_cards(session, SEEN)
        claim_job(session, CARD.owner)
        assert cards_in_ray(session) == SEEN
        (shape,) = card_shapes(session)
    assert (shape["node"], shape["card"], shape["state"], shape["job"]) == ("gpu1", 0, "ready", job)
    assert 0 < shape["lease_seconds"] <= LEASE_SECONDS
    with writing(ledger) as session:
        note_cards(session, replace(SEEN, head="away", detail="no Ray head answers"))
        (shape,) = card_shapes(session)
    assert (shape["state"], shape["job"], shape["detail"]) == ("away", job, "no Ray head answers")


def test_no_daemon_is_called_as_a_card_is() -> None:
    assert new_owner("card-0", "ray:gpu1").startswith("card-0@ray:gpu1/")
