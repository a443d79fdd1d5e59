"""Where the parts of a chart lie."""

import pytest

from rtseg_daemon.web.pages.charts import FRAME, Point, columns, dice_bar, nice_marks, stacked, trend


def test_the_parts_of_a_bar_lie_side_by_side_and_fill_it() -> None:
    parts = stacked({"read": 1.0, "nothing": 0.0, "infer": 3.0})
    assert [(one.x, one.width) for one in parts] == [(0.0, 250.0), (250.0, 0.0), (250.0, 750.0)]
    assert stacked({}) == []
    assert [one.width for one in stacked({"a": 0.0})] == [0.0]


def test_a_predicted_dice_lies_in_its_interval_and_says_so() -> None:
    bar = dice_bar(0.78, [0.69, 0.85])
    assert bar is not None
    assert (bar.low, bar.at, bar.high) == (69.0, 78.0, 85.0)
    assert bar.label == "predicted Dice 0.78, 90 % interval 0.69 to 0.85"


@pytest.mark.parametrize("value", [None, float("nan"), "0.7", True])
def test_without_a_predicted_dice_there_is_no_bar(value: object) -> None:
    assert dice_bar(value, [0.1, 0.2]) is None


def test_an_interval_that_is_none_is_a_mark_alone() -> None:
    bar = dice_bar(1.4, None)
    assert bar is not None
    assert (bar.low, bar.high, bar.label) == (100.0, 100.0, "predicted Dice 1.00")


def test_a_trend_goes_from_left_to_right_and_larger_is_higher() -> None:
    chart = trend([Point("a", 1.0, 0.5, 1.5), Point("b", 2.0, 1.5, 2.5), Point("c", 1.0, 0.5, 1.5)])
    assert chart is not None
    (x1, y1, _), (x2, y2, says), (x3, y3, _) = chart.dots
    assert x1 == FRAME.x(0) < x2 < x3 == FRAME.x(1)
    assert y2 < y1 == y3
    assert says == "b: 2"
    assert len(chart.band.split()) == 6


def test_a_trend_of_one_point_or_none_is_no_division_by_nothing() -> None:
    assert trend([]) is None
    single = trend([Point("a", 0.0, 0.0, 0.0)])
    assert single is not None
    assert single.dots[0][0] == FRAME.x(0.5)


@pytest.mark.parametrize(("bottom", "top"), [(0, 1), (0.61, 0.87), (3, 3), (0, 0), (12.5, 9000), (-2, 5)])
def test_marks_are_few_and_hold_what_they_measure(bottom: float, top: float) -> None:
    marks = nice_marks(bottom, top)
    assert 2 <= len(marks) <= 6
    assert marks[0] <= bottom
    assert marks[-1] >= top
    assert marks == sorted(marks)


def test_columns_stand_on_the_ground_and_on_each_other() -> None:
    chart = columns([("mon", {"delivered": 2, "held": 1}), ("tue", {"delivered": 0, "held": 0})])
    (bottom_y, bottom_height, _), (top_y, top_height, kind) = chart.columns[0].parts
    assert bottom_y + bottom_height == chart.frame.y(0)
    assert top_y + top_height == pytest.approx(bottom_y, abs=0.11)
    assert kind == "held"
    assert chart.columns[0].says == "mon: 2 delivered, 1 held"
    assert chart.columns[1].says == "tue: nothing"
    assert columns([]).columns == ()
