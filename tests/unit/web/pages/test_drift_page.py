"""The Quality page's charts: how every organ stands, the charts of one of them, and where their parts lie."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.upkeep.drift.board import Chart, chart_of, charts_of
from rtseg_daemon.upkeep.drift.chart import Point
from rtseg_daemon.upkeep.drift.measures import BY_KEY
from rtseg_daemon.upkeep.drift.streams import Stream, Switch, read_streams
from rtseg_daemon.web.pages.control import FRAME, MOST, STRIP, control
from rtseg_daemon.web.pages.drifting import board_of
from rtseg_daemon.web.place import Place
from tests.came_back import come_back
from tests.dashboard import logged_in, make_place
from tests.filled import SCANNERS, Clinic

JOBS, DRIFT_FROM = 120, 85
DAY = 86400.0


@pytest.fixture(scope="module")
def department(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = make_place(Path(tmp_path_factory.mktemp("department")))
    Clinic(place.engine, place.layout, place.now(), jobs=JOBS).fill()
    come_back(place.engine, drift_from=DRIFT_FROM, organ="Larynx")
    yield place
    place.engine.dispose()


@pytest.fixture(scope="module")
def physicist(department: Place) -> TestClient:
    return logged_in(department, Role.PHYSICIST, "anna")


def rows(text: str) -> dict[str, str]:
    """Organ -> its row of the board."""
    board = text.split('class="board"')[1].split("</table>")[0]
    found = re.findall(r"<tr[^>]*><th scope=\"row\"><a[^>]*>(.*?)</a></th>(.*?)</tr>", board, re.DOTALL)
    return dict(found)


def chosen(text: str) -> str:
    """The heading above the charts."""
    (heading,) = re.findall(r'<h3 id="charts-title">(.*?)</h3>', text)
    return re.sub("<.*?>", "", heading)


def test_the_board_shows_which_organ_drifts_and_its_charts_are_shown_first(physicist: TestClient) -> None:
    text = physicist.get("/quality").text
    found = rows(text)
    assert len(found) == 7
    assert ">drift<" in found["Larynx"]
    assert ">drift<" not in found["Brainstem"]
    assert chosen(text) == "Larynx"
    assert text.count('class="chart control"') == 19
    assert re.search(r"told at\s+<a href=\"/cases/\d+\">job \d+</a>", text)
    assert "limits set by 50 cases" in text


def test_another_organ_and_one_scanner_can_be_chosen(physicist: TestClient) -> None:
    text = physicist.get("/quality", params={"organ": "Brainstem", "scanner": SCANNERS[0]}).text
    assert chosen(text) == f"Brainstem on {SCANNERS[0]}"
    assert text.count('class="chart control"') == 19


def test_what_is_not_there_is_not_chosen(physicist: TestClient) -> None:
    answer = physicist.get("/quality", params={"organ": "<b>", "scanner": "none", "route": "nosuch"})
    assert answer.status_code == 200
    assert chosen(answer.text) == "Larynx"


def test_the_coverage_of_predicted_intervals_is_shown(physicist: TestClient) -> None:
    text = physicist.get("/quality").text.split("Does the predicted Dice hold?")[1]
    assert "Parotid_L" in text
    assert ">holds<" in text


def test_a_board_is_made_anew_when_something_is_new_and_only_then(department: Place) -> None:
    first = board_of(department.engine, "han-oar", {})
    assert board_of(department.engine, "han-oar", {}) is first
    with writing(department.engine) as session:
        record_event(session, "bundle", None, "activated", detail={"bundle": "han-oar", "after": "9"}, who="anna")
    second = board_of(department.engine, "han-oar", {})
    assert second is not first
    assert second.switches[-1].version == "9"


def test_a_clinic_without_a_result_has_a_page(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    text = logged_in(place, Role.VIEWER).get("/quality").text
    assert "No job in this time." in text
    place.engine.dispose()


# --- where the parts of a chart lie -----------------------------------------------------------------------------


def signed(values: list[float], versions: list[str] | None = None) -> Chart:
    named = versions or ["1.5"] * len(values)
    points = [Point(k * DAY, k, named[k], value) for k, value in enumerate(values)]
    return chart_of(Stream("han-oar", "all", "Larynx"), BY_KEY["mean_signed_distance_mm"], points)


def test_larger_is_higher_and_limits_begin_where_there_are_any() -> None:
    picture = control(signed([0.0, 1.0] * 15))
    assert picture.dots[1].y < picture.dots[0].y
    (step,) = picture.steps
    assert step.x1 > picture.dots[19].x
    assert step.stage == "provisional"
    assert step.high < step.centre < step.low
    assert picture.steps[-1].x2 == FRAME.x(1)


def test_the_range_from_case_to_case_has_a_strip_and_a_jump_stands_out() -> None:
    picture = control(signed([*[0.0, 0.4] * 12, 9.0, 0.4, 0.2]))
    assert len(picture.ranges) == 26
    assert [one.beyond for one in picture.ranges[-4:]] == [False, True, True, False]
    top, bottom = STRIP
    assert all(top <= one.y <= bottom for one in picture.ranges)
    assert picture.range_limit is not None
    assert control(signed([1.0])).ranges == ()


def test_a_version_and_an_activation_are_marked_where_they_began() -> None:
    versions = ["1.5"] * 25 + ["1.6"] * 5
    picture = control(signed([0.0, 1.0] * 15, versions), [Switch(24.5 * DAY, "han-oar", "activated", "1.6")])
    (version,), (switch,) = picture.versions, picture.switches
    assert version.label == "1.6"
    assert picture.dots[24].x < version.at < picture.dots[25].x
    assert switch.at == version.at
    assert switch.label.startswith("activated 1.6")
    assert picture.steps[-1].stage == "before"


def test_the_activation_of_another_bundle_is_not_marked() -> None:
    assert control(signed([0.0] * 5), [Switch(2 * DAY, "other", "activated", "2")]).switches == ()


def test_one_case_and_a_long_history_have_a_picture() -> None:
    assert control(signed([1.0])).dots[0].x == FRAME.x(0.5)
    long = control(signed([0.0, 1.0] * MOST))
    assert len(long.dots) == MOST
    assert long.dots[-1].job == 2 * MOST - 1


def test_every_chart_of_a_department_lies_within_its_frame(department: Place) -> None:
    with reading(department.engine) as session:
        streams = read_streams(session, {})
    for chart in charts_of(streams):
        picture = control(chart)
        assert all(0 <= dot.x <= FRAME.width and 0 <= dot.y <= FRAME.height for dot in picture.dots)
        assert all(0 <= edge <= FRAME.height for step in picture.steps for edge in (step.low, step.high, step.centre))
