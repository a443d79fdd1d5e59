"""Deliveries that no courier would ever come for, or that may not go out any more: the deliverer's start ends them."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.daemon import deliverer
from rtseg_daemon.ledger import duties
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Job
from tests.deliveries import World
from tests.tiny import make_bundle
from tests.world import Tps

# pynetdicom leaves the socket of a refused connection to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_destination_that_is_no_longer_configured_fails_its_deliveries_at_the_start(
    world: World, tps: Tps, ledger: Engine
) -> None:
    job = world.job(destinations=("eclipse", "tps"))
    deliverer.give_up_unknown(ledger, ["tps"])
    gone, known = world.shape(job)["deliveries"]
    assert (gone["state"], known["state"]) == ("FAILED", "WAITING")
    assert "destination 'eclipse' is no longer configured" in gone["last_comment"]
    with tps.running(), world.couriers():
        world.until_state("FAILED")
    assert len(tps.structure_sets) == 1


def test_what_another_host_sends_to_is_not_given_up(world: World, ledger: Engine) -> None:
    world.job(destinations=("eclipse",))
    with writing(ledger) as session:
        duties.take(session, "deliver to eclipse", "south/deliverer-1", seconds=30.0)
    deliverer.give_up_unknown(ledger, ["tps"])
    assert world.delivery()["state"] == "WAITING"
    with writing(ledger) as session:
        duties.lay_down(session, "south/deliverer-1", ["deliver to eclipse"])
    deliverer.give_up_unknown(ledger, ["tps"])
    assert world.delivery()["state"] == "FAILED"


def test_what_research_made_is_not_sent_once_its_route_allows_that_no_more(world: World, ledger: Engine) -> None:
    job = world.job()
    models = world.config.models.directory
    assert models is not None
    make_bundle(models, "trial", intended_use="research")
    with writing(ledger) as session:
        session.get_one(Job, job).bundle = "trial"
    (route,) = world.config.routes
    allowing = world.config.model_copy(update={"routes": (route.model_copy(update={"research": True}),)})
    deliverer.give_up_research(ledger, allowing)
    assert world.delivery()["state"] == "WAITING"
    deliverer.give_up_research(ledger, world.config)
    assert (world.delivery()["state"], world.shape(job)["state"]) == ("FAILED", "FAILED")
    assert "bundle trial is for research only" in world.delivery()["last_comment"]
