"""What an arriving object is to those that are here."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.recognition import Repeat, recognise
from rtseg_daemon.ledger.schema import Instance
from rtseg_daemon.ledger.states import InstanceState, SeriesState
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival


@pytest.mark.parametrize(
    ("change", "repeat"),
    [
        ({}, Repeat.DUPLICATE),
        ({"sha256": "other"}, Repeat.DUPLICATE),
        ({"sha256": "other", "pixel_sha256": "other"}, Repeat.CONTENT_DIFFERS),
        ({"sha256": "other", "pixel_sha256": None}, Repeat.UNDECIDED),
        ({"sha256": "other", "geometry_sha256": "other", "pixel_sha256": None}, Repeat.CONTENT_DIFFERS),
        ({"sha256": "other", "identity_sha256": "other", "pixel_sha256": None}, Repeat.IDENTITY_DIFFERS),
        ({"sha256": "other", "series_instance_uid": "1.3.9"}, Repeat.IDENTITY_DIFFERS),
    ],
)
def test_an_object_that_is_kept_is_compared(ledger: Engine, change: dict[str, object], repeat: Repeat) -> None:
    with writing(ledger) as session:
        receive(session, arrival())
        seen = recognise(session, arrival(**change))
        assert (seen.repeat, seen.open_series_id) == (repeat, None)
        assert seen.known is not None


@pytest.mark.parametrize(
    ("change", "repeat"),
    [
        ({"pixel_sha256": None}, Repeat.NEW),
        ({"geometry_sha256": "other"}, Repeat.CONTENT_DIFFERS),
        ({"identity_sha256": "other"}, Repeat.IDENTITY_DIFFERS),
    ],
)
def test_an_object_that_retention_removed_is_compared_but_for_its_pixels(
    ledger: Engine, change: dict[str, object], repeat: Repeat
) -> None:
    with writing(ledger) as session:
        receive(session, arrival())
        session.query(Instance).one().state = InstanceState.REMOVED
        session.flush()
        assert recognise(session, arrival(sha256="other", **change)).repeat is repeat


def test_a_new_object_names_its_series_only_while_that_is_open(ledger: Engine) -> None:
    with writing(ledger) as session:
        assert recognise(session, arrival()).open_series_id is None
        series_id = receive(session, arrival()).series_id
        seen = recognise(session, arrival(2))
        assert (seen.repeat, seen.open_series_id) == (Repeat.NEW, series_id)
        move_series(session, series_id, SeriesState.COMPLETE, what="test")
        seen = recognise(session, arrival(2))
        assert (seen.repeat, seen.open_series_id) == (Repeat.NEW, None)
