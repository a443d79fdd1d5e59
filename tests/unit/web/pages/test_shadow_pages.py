"""A shadow's contours on the dashboard: on a page of their own alone, and never beside what is for treatment."""

import pytest

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.web.pages.now import at_work
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.viewer.subject import results_of
from tests.dashboard import logged_in
from tests.filled import store_result

CASE = 12
"""The newest job: DELIVERED."""


@pytest.fixture
def shadow(own: Place) -> int:
    """A candidate's job of the case, HELD by a gate with a stored result."""
    store_result(own.layout, CASE)
    with writing(own.engine) as session:
        case = session.get_one(Job, CASE)
        job = jobs.create_job(session, case.series_id, case.last_instance_id, "han-oar@2.0", case.route, shadow=True)
        outcome = jobs.Outcome("d", [], flags={"Larynx": "REJECT"}, rtstruct_path=f"results/{job.id}/RTSTRUCT.dcm")
        jobs.hold(session, job.id, "left and right may be exchanged", outcome=outcome)
        return job.id


def page(place: Place, path: str) -> str:
    answer = logged_in(place, Role.ADMIN).get(path)
    assert answer.status_code == 200
    return answer.text


def test_a_shadows_page_says_what_it_is_and_offers_no_release_and_no_rerun(own: Place, shadow: int) -> None:
    text = page(own, f"/cases/{shadow}")
    assert "a candidate's contours, for comparison alone: not for treatment" in text.replace("&#39;", "'")
    assert f"/cases/{shadow}/cancel" in text
    assert not any(f"/cases/{shadow}/{action}" in text for action in ("release", "rerun", "review"))


def test_the_case_the_worklist_and_the_list_of_cases_show_no_shadow(own: Place, shadow: int) -> None:
    for path in (f"/cases/{CASE}", "/worklist", "/cases", "/cases?state=HELD"):
        text = page(own, path)
        assert f'href="/cases/{shadow}"' not in text, path
    assert "han-oar@2.0" not in page(own, "/cases")


def test_the_viewer_lays_no_shadow_beside_a_case(own: Place, shadow: int) -> None:
    with reading(own.engine) as session:
        series = session.get_one(Job, CASE).series_id
        assert [job.id for job in results_of(session, series)] == [CASE]


def test_a_shadow_that_waits_or_is_made_is_not_at_work_for_anybody(own: Place) -> None:
    with writing(own.engine) as session:
        before = [job.id for job in at_work(session)]
        case = session.get_one(Job, CASE)
        job = jobs.create_job(session, case.series_id, case.last_instance_id, "han-oar@2.0", case.route, shadow=True)
        assert (job.state, [one.id for one in at_work(session)]) == (JobState.QUEUED, before)
