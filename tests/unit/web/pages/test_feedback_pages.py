"""What came back, on pages and for programs: listed, shown, and names explained by whoever may."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.feedback_tables import RoiName
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.web.place import Place
from tests.clinic import Case, Clinic, moved, renamed
from tests.dashboard import Clock, logged_in, program

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


class Shown:
    """A clinic where two sets came back, one with a name that nobody knows, and its dashboard."""

    def __init__(self, folder: Path, ledger: Engine) -> None:
        self.clinic = Clinic(folder, ledger, web={"enabled": True})
        self.place = Place(self.clinic.loop.desk.config, self.clinic.layout, ledger, Clock())
        self.case: Case = self.clinic.deliver()
        self.first = self.clinic.comes_back(self.case.edited(moved("Parotid_L", x=2.0))).id
        self.second = self.clinic.comes_back(self.case.edited(renamed(Parotid_R="mystery"))).id

    @property
    def roi(self) -> int:
        return self.clinic.rois(self.second)["mystery"].id


@pytest.fixture
def shown(tmp_path: Path, ledger: Engine) -> Shown:
    return Shown(tmp_path, ledger)


@pytest.fixture
def physicist(shown: Shown) -> TestClient:
    return logged_in(shown.place, Role.PHYSICIST, "anna")


def test_the_page_lists_sets_and_the_names_that_wait(shown: Shown, physicist: TestClient) -> None:
    text = physicist.get("/feedback").text
    assert f'href="/feedback/{shown.first}"' in text
    assert f'href="/feedback/{shown.second}"' in text
    assert f'href="/feedback/names/{shown.roi}"' in text
    assert "it lies where our Parotid_R lies" in text
    assert "name</a> waits" not in text
    worklist = physicist.get("/worklist").text
    assert "1 name of returned contours</a> waits for somebody who says what it means" in worklist
    only = physicist.get("/feedback?state=MEASURED").text
    assert f'href="/feedback/{shown.second}"' not in only


def test_a_set_is_shown_with_its_figures_and_so_is_its_case(shown: Shown, physicist: TestClient) -> None:
    text = physicist.get(f"/feedback/{shown.first}").text
    assert re.findall(r"<h1>Set (\d+)", text) == [str(shown.first)]
    assert f'href="/cases/{shown.case.job_id}"' in text
    assert "Parotid_L" in text
    assert "came back" in text
    case = physicist.get(f"/cases/{shown.case.job_id}").text
    assert f'href="/feedback/{shown.second}"' in case
    with reading(shown.place.engine) as session:
        assert [one.what for one in events_of(session, "series", shown.case.series_id)].count("viewed") == 1
    assert physicist.get("/feedback/999").status_code == 404


def test_a_name_is_explained_by_a_physicist_and_the_set_is_measured_anew(shown: Shown, physicist: TestClient) -> None:
    asked = physicist.get(f"/feedback/names/{shown.roi}").text
    assert "Explain: <bdi>mystery</bdi>" in asked
    assert "<option>Parotid_R</option>" in asked
    answer = physicist.post(f"/feedback/names/{shown.roi}", data={"organ": "Parotid_R", "why": "she drew it"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/feedback")
    shown.clinic.work()
    assert shown.clinic.row(shown.second).state == "MEASURED"
    with reading(shown.place.engine) as session:
        [row] = session.query(RoiName)
        assert (row.name, row.organ, row.who, row.why) == ("mystery", "Parotid_R", "anna", "she drew it")
        assert session.query(Event).filter_by(what="name explained", who="anna").count() == 1
    assert "What people said of names" in physicist.get("/feedback").text


@pytest.mark.parametrize(("organ", "status"), [("", 422), ("Nonsense", 409)])
def test_what_cannot_be_meant_is_refused_with_the_reason(
    shown: Shown, physicist: TestClient, organ: str, status: int
) -> None:
    answer = physicist.post(f"/feedback/names/{shown.roi}", data={"organ": organ})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert shown.clinic.row(shown.second).state == "NAMES"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_nobody_else_may_explain_a_name(shown: Shown, role: Role) -> None:
    other = logged_in(shown.place, role)
    assert "Explain" not in other.get("/feedback").text
    assert other.get(f"/feedback/names/{shown.roi}").status_code == 403
    assert other.post(f"/feedback/names/{shown.roi}", data={"organ": "none"}).status_code == 403


def test_names_of_strangers_are_harmless_on_every_page(shown: Shown, physicist: TestClient) -> None:
    row = shown.clinic.comes_back(shown.clinic.deliver(seed=4).edited(renamed(Parotid_L=HOSTILE.strip())))
    roi = next(roi.id for roi in row.rois if "script" in roi.name)
    for path in ("/feedback", f"/feedback/{row.id}", f"/feedback/names/{roi}"):
        text = physicist.get(path).text
        assert "<script>alert" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_programs_see_and_say_the_same(shown: Shown) -> None:
    viewer = program(shown.place)
    listed = viewer.get("/api/v1/feedback").json()
    assert [one["id"] for one in listed] == [shown.second, shown.first]
    assert [one["id"] for one in viewer.get("/api/v1/feedback?state=NAMES").json()] == [shown.second]
    one = viewer.get(f"/api/v1/feedback/{shown.first}").json()
    assert {roi["organ"] for roi in one["contours"]} == {"Brainstem", "Parotid_L", "Parotid_R"}
    assert viewer.get("/api/v1/feedback/999").status_code == 404
    meaning = {"name": "mystery", "organ": "Parotid_R", "why": "asked"}
    assert viewer.post("/api/v1/feedback/names", json=meaning).status_code == 403
    physicist = program(shown.place, Role.PHYSICIST)
    assert physicist.post("/api/v1/feedback/names", json=meaning | {"organ": "Nonsense"}).status_code == 409
    assert physicist.post("/api/v1/feedback/names", json=meaning).json()["organ"] == "Parotid_R"
    assert [one["name"] for one in viewer.get("/api/v1/feedback/names").json()] == ["mystery"]
