"""A canary serves a share of the patients, always the same ones, and only what has shown what it is worth."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine

from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.config.sections import Canary, Route
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Alarm, Event
from rtseg_daemon.upkeep.canaries import admitted
from tests.compared import Organ, live_cases
from tests.tiny import make_bundle
from tests.world import write_config

CANARY = {"bundle": "tiny@2.0", "share": 0.1}
BETTER, WORSE = {"Brainstem": Organ(0.9, 0.80, 0.84)}, {"Brainstem": Organ(0.9, 0.80, 0.70)}


def route(**changes: object) -> Route:
    return Route.model_validate({"name": "all", "match": {}, "bundle": ["tiny", "other"], "canary": CANARY} | changes)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = write_config(tmp_path, 1, routes=[{"name": "all", "match": {}, "bundle": "tiny", "canary": CANARY}])
    make_bundle(tmp_path / "models", version="2.0", members=1)
    return load_config(path)


def digests(config: Config) -> tuple[str, str]:
    assert config.models.directory is not None
    return tuple(load_bundle(config.models.directory, name).digest for name in ("tiny", "tiny@2.0"))  # type: ignore[return-value]


def test_about_the_share_of_the_patients_is_taken_and_each_stays_on_its_side() -> None:
    canary = Canary.model_validate(CANARY)
    taken = [canary.takes(f"P{number}") for number in range(2000)]
    assert 0.08 < sum(taken) / 2000 < 0.12
    assert taken == [canary.takes(f"P{number}") for number in range(2000)]


def test_the_canary_takes_its_bundles_place_and_no_other() -> None:
    patient = next(f"P{number}" for number in range(100) if Canary.model_validate(CANARY).takes(f"P{number}"))
    assert route().jobs_for(patient) == ("tiny@2.0", "other")
    assert route(structure_sets="joined").jobs_for(patient) == ("tiny@2.0+other",)
    other = next(f"P{number}" for number in range(100) if not Canary.model_validate(CANARY).takes(f"P{number}"))
    assert route().jobs_for(other) == route().jobs == ("tiny", "other")
    assert route().everything == ("tiny", "other", "tiny@2.0")


@pytest.mark.parametrize(
    "wrong", [{"bundle": "tiny", "share": 0.1}, {"bundle": "x@2", "share": 0.1}, CANARY | {"share": 1}]
)
def test_a_canary_without_version_of_no_bundle_of_the_route_or_for_all_is_a_mistake(wrong: object) -> None:
    with pytest.raises(ValidationError):
        route(canary=wrong)


def test_a_canary_serves_where_the_shadow_speaks_for_it_and_that_is_an_event(ledger: Engine, config: Config) -> None:
    live_cases(ledger, digests(config), [BETTER] * 30)
    assert admitted(ledger, config, 1000.0).routes == config.routes
    with reading(ledger) as session:
        (event,) = session.query(Event).filter_by(what="canary serves")
        assert event.detail == {"bundle": "tiny@2.0", "route": "all", "share": 0.1}


@pytest.mark.parametrize(
    ("cases", "why"), [([BETTER] * 3, "it has 3 shadow cases"), ([WORSE] * 30, "Brainstem is worse: Dice -0.100")]
)
def test_a_canary_that_has_not_shown_enough_or_is_worse_does_not_serve_and_somebody_is_told(
    ledger: Engine, config: Config, cases: list[dict[str, Organ]], why: str
) -> None:
    live_cases(ledger, digests(config), cases)
    assert [one.canary for one in admitted(ledger, config, 1000.0).routes] == [None]
    with reading(ledger) as session:
        (alarm,) = session.query(Alarm)
        assert alarm.message.startswith(f"canary tiny@2.0 of route all does not serve: {why}")


def test_where_nothing_was_delivered_yet_a_canary_may_serve(ledger: Engine, config: Config) -> None:
    assert admitted(ledger, config, 1000.0).routes == config.routes
