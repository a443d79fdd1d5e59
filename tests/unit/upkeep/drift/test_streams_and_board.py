"""From a ledger to charts: which cases count, for which streams, and what is shown of them."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.upkeep.drift import streams as streams_module
from rtseg_daemon.upkeep.drift.board import Chart, charts_of
from rtseg_daemon.upkeep.drift.months import months_of
from rtseg_daemon.upkeep.drift.shape import COLUMNS, chart_shape, coverage_shapes, rows_of
from rtseg_daemon.upkeep.drift.streams import Stream, Streams, Wanted, read_streams, switches
from tests.filled import SCANNERS, SHA
from tests.unit.upkeep.drift.conftest import DRIFT_FROM, NOW, ORGAN

ALL = Stream("han-oar", "head-neck", ORGAN)
VERSIONS = {SHA: "1.5"}


def read(engine: Engine, organ: str = "") -> Streams:
    with reading(engine) as session:
        return read_streams(session, VERSIONS, Wanted(organ=organ))


def chart(engine: Engine, measure: str, stream: Stream = ALL) -> Chart:
    return next(
        one for one in charts_of(read(engine, stream.organ)) if (one.stream, one.measure.key) == (stream, measure)
    )


def numbers(engine: Engine, measure: str = "volume_ml") -> list[int]:
    return [point.case for point in read(engine, ORGAN).points[ALL][measure]]


def test_every_organ_has_a_chart_for_all_scanners_and_one_for_each(drifted: Engine) -> None:
    found = list(charts_of(read(drifted)))
    assert {one.stream.scanner for one in found} == {"", *SCANNERS}
    assert len({one.stream.organ for one in found}) == 7
    mine = [one for one in found if one.stream == ALL]
    assert {one.measure.key for one in mine} >= {"volume_ml", "vvc", "flagged", "dsc", "edited_left", "left_alone"}
    both = [len(chart(drifted, "dsc", Stream("han-oar", "head-neck", ORGAN, one)).points) for one in SCANNERS]
    assert sum(both) == len(chart(drifted, "dsc").points)


def test_charts_that_need_no_feedback_are_there_without_any(make_department: Callable[..., Engine]) -> None:
    measures = {one.measure.key for one in charts_of(read(make_department(answered=False)))}
    assert measures == {"flagged", "volume_ml", "vvc", "predicted_dice"}


def test_the_organ_that_drifts_alarms_and_the_others_do_not(drifted: Engine) -> None:
    found = {(one.stream.organ, one.measure.key): one.alarms for one in charts_of(read(drifted)) if one.alarms}
    assert {organ for organ, _ in found} == {ORGAN}
    (alarm,) = chart(drifted, "mean_signed_distance_mm").alarms
    assert alarm.side == "above"
    late = [point.case for point in chart(drifted, "dsc").points if point.case >= DRIFT_FROM]
    assert late.index(alarm.case) < 15


def test_looks_shadows_reruns_and_superseded_results_count_in_no_chart(make_department: Callable[..., Engine]) -> None:
    engine = make_department()
    before = numbers(engine)
    with writing(engine) as session:
        session.get_one(Job, before[0]).no_send = True
        session.get_one(Job, before[1]).shadow = True
        session.get_one(Job, before[2]).run = 2
        session.get_one(Job, before[4]).supersedes_id = before[3]
    assert numbers(engine) == before[4:]


def test_of_a_patient_one_case_counts_for_a_version(make_department: Callable[..., Engine]) -> None:
    engine = make_department()
    before = numbers(engine)
    with writing(engine) as session:
        first = session.get_one(Series, before[0]).patient_id
        session.get_one(Series, before[5]).patient_id = first
    assert numbers(engine) == [one for one in before if one != before[5]]
    assert before[5] not in numbers(engine, "dsc")


def test_patients_without_a_number_are_not_one_patient(make_department: Callable[..., Engine]) -> None:
    engine = make_department()
    before = numbers(engine)
    with writing(engine) as session:
        for number in before[:2]:
            session.get_one(Series, number).patient_id = ""
    assert numbers(engine) == before


def test_of_a_long_history_the_first_and_the_last_cases_are_read(
    drifted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = numbers(drifted)
    monkeypatch.setattr(streams_module, "FIRST", 10)
    monkeypatch.setattr(streams_module, "LAST", 20)
    found = numbers(drifted)
    assert found[:8] == before[:8]
    assert found[-15:] == before[-15:]
    assert len(found) <= 30


def test_one_version_pinned_by_a_route_is_charted_with_the_others(make_department: Callable[..., Engine]) -> None:
    engine = make_department()
    before = numbers(engine)
    with writing(engine) as session:
        session.get_one(Job, before[-1]).bundle = "han-oar@1.6"
        session.get_one(Job, before[-1]).bundle_digest = "f" * 64
    with reading(engine) as session:
        points = read_streams(session, VERSIONS, Wanted("han-oar", ORGAN)).points[ALL]["volume_ml"]
    assert [point.version for point in points[-2:]] == ["1.5", "f" * 12]


def test_activations_and_rollbacks_are_known_with_their_version(drifted: Engine) -> None:
    with writing(drifted) as session:
        for what, after in (("activated", "1.6"), ("rolled back", "1.5")):
            record_event(session, "bundle", None, what, detail={"bundle": "han-oar", "after": after}, who="anna")
    with reading(drifted) as session:
        assert [(one.what, one.version) for one in switches(session)] == [("activated", "1.6"), ("rolled back", "1.5")]


# --- what is shown -------------------------------------------------------------------------------------------------


def test_a_chart_is_shown_with_its_limits_its_state_and_its_alarms(drifted: Engine) -> None:
    shape = chart_shape(chart(drifted, "mean_signed_distance_mm"), 0.0, NOW)
    assert (shape["state"], shape["unit"], shape["version"], shape["scanner"]) == ("drift", "mm", "1.5", None)
    assert shape["limits"]["stage"] == "set"
    assert shape["limits"]["low"] < shape["limits"]["centre"] < 1.0
    assert len(shape["alarms"]) == 1
    assert shape["marked"] > 5
    assert shape["months"][-1]["beyond"]
    assert chart_shape(chart(drifted, "mean_signed_distance_mm"), 0.0, 1.0)["cases_in_period"] == 0


def test_limits_come_back_to_the_unit_of_the_measure(drifted: Engine) -> None:
    limits = chart_shape(chart(drifted, "surface_dsc_2mm"), 0.0, NOW)["limits"]
    assert 0.0 < limits["low"] < limits["centre"] < limits["high"] <= 1.0
    volume = chart_shape(chart(drifted, "volume_ml"), 0.0, NOW)["limits"]
    assert volume["centre"] == pytest.approx(29.0, rel=0.1)


def test_flags_and_contours_left_alone_are_shown_as_shares(drifted: Engine) -> None:
    shape = chart_shape(chart(drifted, "left_alone"), 0.0, NOW)
    assert shape["limits"]["low"] == 0.0
    assert 0.1 < shape["limits"]["centre"] < 0.4
    assert sum(month["cases"] for month in shape["months"]) == shape["cases"]


def test_months_have_the_mean_of_their_cases(drifted: Engine) -> None:
    one = chart(drifted, "mean_signed_distance_mm")
    months = months_of(one)
    assert sum(month.cases for month in months) == len(one.points)
    assert months[-1].mean == pytest.approx(2.0, abs=0.4)
    assert months[0].low is not None
    assert months[-1].beyond


def test_rows_for_a_spreadsheet_name_every_case_once(drifted: Engine) -> None:
    rows = [row for one in charts_of(read(drifted, ORGAN)) if one.stream == ALL for row in rows_of(one, 0.0, NOW)]
    assert all(len(row) == len(COLUMNS) for row in rows)
    named = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    assert len({(row["measure"], row["job"]) for row in named}) == len(named)
    assert any(row["alarm"] == "above" and row["measure"] == "mean_signed_distance_mm" for row in named)
    assert {row["limits"] for row in named} >= {None, "provisional", "set"}


def test_coverage_is_counted_by_organ_and_version(drifted: Engine) -> None:
    shapes = coverage_shapes(read(drifted))
    assert {shape["organ"] for shape in shapes} >= {ORGAN, "Larynx"}
    for shape in shapes:
        assert shape["within"] + shape["below"] + shape["above"] == pytest.approx(1.0, abs=1e-3)
