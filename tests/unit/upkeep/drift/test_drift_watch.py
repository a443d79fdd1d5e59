"""Who is told of a drift, how often, and of what no more."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update

from rtseg_daemon.config.file import Config
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.chores import Upkeep, chores_for, watch_drift
from rtseg_daemon.upkeep.drift import watch
from rtseg_daemon.upkeep.drift.watch import raise_drift, stamp
from tests.filled import SHA
from tests.unit.upkeep.drift.conftest import DRIFT_FROM, NOW, ORGAN

VERSIONS = {SHA: "1.5"}


def alarms(engine: Engine, kind: str = "drift") -> list[Alarm]:
    with reading(engine) as session:
        return list(session.scalars(select(Alarm).where(Alarm.kind == kind).order_by(Alarm.id)))


@pytest.fixture
def department(make_department: Callable[..., Engine]) -> Engine:
    return make_department(DRIFT_FROM)


def test_an_organ_that_drifts_is_told_once_with_its_charts(department: Engine) -> None:
    assert raise_drift(department, VERSIONS, NOW) == 1
    (alarm,) = alarms(department)
    assert f"{ORGAN} of han-oar 1.5 (route head-neck) has drifted" in alarm.message
    assert "mean signed distance above its limits" in alarm.message
    assert "more charts" in alarm.message
    assert "HN-" not in alarm.message, "no patient is named"
    assert raise_drift(department, VERSIONS, NOW) == 0


def test_what_a_person_has_acknowledged_is_not_told_again(department: Engine) -> None:
    raise_drift(department, VERSIONS, NOW)
    with writing(department) as session:
        alarm = session.scalars(select(Alarm).where(Alarm.kind == "drift")).one()
        alarm.acknowledged_at, alarm.acknowledged_by = NOW, "anna"
    assert raise_drift(department, VERSIONS, NOW + 3600) == 0


def test_a_drift_of_long_ago_is_history_when_charts_are_looked_at_first(department: Engine) -> None:
    assert raise_drift(department, VERSIONS, NOW + 90 * 86400) == 0


def test_nothing_is_told_where_nothing_drifts(make_department: Callable[..., Engine]) -> None:
    assert raise_drift(make_department(), VERSIONS, NOW) == 0


def test_an_interval_that_promises_too_much_is_told(make_department: Callable[..., Engine]) -> None:
    engine = make_department()
    with writing(engine) as session:
        bad = {"dsc": 0.2, "untouched_whole": False}
        late = ReturnedRoi.set_id > 60  # the first ones held
        session.execute(update(ReturnedRoi).where(ReturnedRoi.organ == "Larynx", late).values(difference=bad))
    raise_drift(engine, VERSIONS, NOW)
    (alarm,) = alarms(engine, "coverage")
    assert alarm.message.startswith("Larynx of han-oar 1.5 (route head-neck) is worse than predicted too often")
    assert "where 5 % may" in alarm.message


def test_the_chore_looks_only_when_something_is_new(
    department: Engine, config: Config, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    monkeypatch.setattr(watch, "raise_drift", lambda _engine, _versions, now: looked.append(now))
    upkeep = Upkeep(config, layout, department, lambda: None)
    for _ in range(3):
        watch_drift(upkeep)
    assert len(looked) == 1
    with writing(department) as session:
        session.execute(update(ReturnedSet).values(updated_at=NOW + 9))
    watch_drift(upkeep)
    assert len(looked) == 2
    assert "drift" in [chore.name for chore in chores_for(config)]


def test_the_stamp_changes_with_a_result_and_with_what_comes_back(department: Engine) -> None:
    with reading(department) as session:
        before = stamp(session)
    with writing(department) as session:
        session.execute(update(ReturnedSet).values(updated_at=NOW + 9))
    with reading(department) as session:
        assert stamp(session) != before
