"""A person says that from now on contours are as they should be: limits are made anew, and what was told is over."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.upkeep.drift.board import Chart, charts_of
from rtseg_daemon.upkeep.drift.eras import Era, begin_era, eras
from rtseg_daemon.upkeep.drift.shape import state_of
from rtseg_daemon.upkeep.drift.streams import Stream, Wanted, read_streams
from tests.unit.upkeep.drift.conftest import NOW, ORGAN

DAY = 86400.0


def chart(engine: Engine, measure: str = "mean_signed_distance_mm", organ: str = ORGAN) -> Chart:
    with reading(engine) as session:
        streams = read_streams(session, {}, Wanted(organ=organ))
    mine = Stream("han-oar", "head-neck", organ)
    return next(one for one in charts_of(streams, ("",)) if (one.stream, one.measure.key) == (mine, measure))


def begin(engine: Engine, era: Era, why: str = "new guideline") -> dict[str, object]:
    with writing(engine) as session:
        return begin_era(session, era, who="anna", why=why)


@pytest.fixture
def department(make_department: Callable[..., Engine]) -> Engine:
    return make_department(60)  # half of the cases drift


def test_after_a_change_that_is_meant_limits_are_of_what_came_after_it(department: Engine) -> None:
    before = chart(department)
    assert state_of(before) == "drift"
    begun = next(point.at for point in before.points if point.case >= 60)
    entered = begin(department, Era(begun - 1, "han-oar", ORGAN))
    assert (entered["organ"], entered["who"], entered["why"]) == (ORGAN, "anna", "new guideline")
    after = chart(department)
    assert state_of(after) == "steady"
    assert not after.alarms
    limits = after.judged[-1].limits
    assert limits is not None
    assert limits.centre == pytest.approx(2.0, abs=0.3)
    first = next(one for one in after.judged if one.point.at >= begun)
    assert first.limits is None, "nothing that was before judges it"
    assert len(after.points) == len(before.points), "what was before is still shown"


def test_other_organs_and_other_routes_keep_their_limits(department: Engine) -> None:
    began = len(chart(department, organ="Larynx").points)
    begin(department, Era(NOW - 30 * DAY, "han-oar", ORGAN, "thorax"))
    assert state_of(chart(department)) == "drift"
    assert all(point.era == 0 for point in chart(department, organ="Larynx").points)
    assert len(chart(department, organ="Larynx").points) == began


def test_charts_of_what_is_so_or_not_so_begin_anew_too(department: Engine) -> None:
    begin(department, Era(NOW - 5 * DAY, "han-oar", ORGAN))
    assert chart(department, "flagged").tens[-1].known is None


def test_without_a_reason_or_of_an_organ_that_is_not_there_nothing_is_entered(department: Engine) -> None:
    with pytest.raises(StateError, match="say why"):
        begin(department, Era(NOW, "han-oar", ORGAN), " ")
    with pytest.raises(StateError, match=r"has Nose \(there: Bone_Mandible, Brainstem"):
        begin(department, Era(NOW, "han-oar", "Nose"))
    with pytest.raises(StateError, match="there: none"):
        begin(department, Era(NOW, "nosuch", ORGAN))
    with reading(department) as session:
        assert eras(session) == []


def test_who_began_it_stands_in_the_events(department: Engine) -> None:
    begin(department, Era(NOW, "han-oar", ORGAN))
    with reading(department) as session:
        (era,) = eras(session)
    assert era == Era(NOW, "han-oar", ORGAN)
