"""Jobs of shadows in the ledger: claimed last, sent never, in nobody's way and on nobody's list."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger import decisions, jobs, views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.found_jobs import Search, find_jobs, routes_and_bundles
from rtseg_daemon.ledger.job_deliveries import add_deliveries
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Alarm, Delivery, Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.ledger.superseding import refuse_superseded, refuse_unsendable, supersede
from rtseg_daemon.ledger.urgency import waiting_jobs
from rtseg_daemon.storage import Layout
from tests.arrivals import receive
from tests.shadows import CANDIDATE, delivered_case, shadow_job
from tests.unit.ledger.test_jobs import arrival
from tests.unit.upkeep.test_housekeeping import stored_series

ENDED = (JobState.SEGMENTED, JobState.HELD, JobState.FAILED)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "storage")
    layout.create()
    return layout


def state(ledger: Engine, job: int) -> JobState:
    with reading(ledger) as session:
        return session.get_one(Job, job).state


def waiting_job(ledger: Engine, layout: Layout, number: int) -> int:
    series = stored_series(ledger, layout, number)
    with writing(ledger) as session:
        return jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all").id


def later_slice(ledger: Engine, series: int = 1) -> None:
    """One more slice of the series comes."""
    with writing(ledger) as session:
        receive(session, arrival(99, series_instance_uid=f"1.3.{series}"))


def test_a_shadows_job_is_claimed_only_when_nothing_else_waits(ledger: Engine, layout: Layout) -> None:
    shadow = shadow_job(ledger, delivered_case(ledger, layout))
    wanted = waiting_job(ledger, layout, 2)
    claimed = []
    for worker in "abc":
        with writing(ledger) as session:
            job = jobs.claim_job(session, worker)
            claimed.append(job.id if job else None)
    assert claimed == [wanted, shadow, None]


def test_a_shadows_job_that_makes_way_waits_again_free_of_charge(ledger: Engine, layout: Layout) -> None:
    shadow = shadow_job(ledger, delivered_case(ledger, layout))
    with writing(ledger) as session:
        jobs.claim_job(session, "w")
        assert not jobs.somebody_waits(session)
        jobs.make_way(session, Lease(shadow, "w", 1))
        job = session.get_one(Job, shadow)
        assert (job.state, job.attempts, job.lease_owner) == (JobState.QUEUED, 0, None)
        assert not jobs.somebody_waits(session), "another shadow is nobody"


def test_a_shadows_result_gets_no_delivery_whatever_is_asked(ledger: Engine, layout: Layout) -> None:
    shadow = shadow_job(ledger, delivered_case(ledger, layout), JobState.SEGMENTED)
    with writing(ledger) as session:
        job = session.get_one(Job, shadow)
        assert (job.no_send, job.run, job.deliveries) == (True, 0, [])
        with pytest.raises(StateError, match="nothing of it leaves this machine"):
            add_deliveries(session, job, ["tps"])
        with pytest.raises(StateError, match="nothing of it leaves this machine"):
            refuse_unsendable(session, job)
        assert session.query(Delivery).count() == 1, "the case's own"


def test_a_person_can_neither_release_a_shadows_result_nor_run_it_again_but_retry_or_cancel(
    ledger: Engine, layout: Layout
) -> None:
    held = shadow_job(ledger, delivered_case(ledger, layout), JobState.HELD)
    failed = shadow_job(ledger, delivered_case(ledger, layout, 2), JobState.FAILED)
    with writing(ledger) as session:
        with pytest.raises(StateError, match=f"nothing of it is released.*--bundle {CANDIDATE}"):
            decisions.release(session, held, "anna", "looks fine", ["tps"])
        with pytest.raises(StateError, match="nothing of it is run again"):
            decisions.rerun(session, held, "anna")
        jobs.cancel(session, held, "anna", "not wanted")
        decisions.retry(session, failed, "anna")
    assert (state(ledger, held), state(ledger, failed)) == (JobState.CANCELLED, JobState.QUEUED)


def test_a_rerun_of_the_case_counts_its_own_runs(ledger: Engine, layout: Layout) -> None:
    case = delivered_case(ledger, layout)
    shadow_job(ledger, case, JobState.SEGMENTED)
    with writing(ledger) as session:
        again = decisions.rerun(session, case, "anna", bundle=CANDIDATE, no_send=True)
        assert (again.run, again.shadow) == (2, False)


def test_a_shadows_job_supersedes_nothing_and_is_no_result_that_is_superseded(ledger: Engine, layout: Layout) -> None:
    case = delivered_case(ledger, layout)
    shadow_job(ledger, case, JobState.SEGMENTED)
    later_slice(ledger)
    with writing(ledger) as session:
        series = session.get_one(Job, case).series_id
        new = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
        assert supersede(session, series, "tiny", by=new.id) == case
        (alarm,) = session.query(Alarm)
        assert alarm.message.startswith(f"job {new.id} supersedes job {case}, whose")


def test_a_candidate_that_serves_by_name_supersedes_no_shadow_of_itself(ledger: Engine, layout: Layout) -> None:
    case = delivered_case(ledger, layout)
    shadow_job(ledger, case, JobState.SEGMENTED)
    with writing(ledger) as session:
        served = session.get_one(Job, case)
        new = jobs.create_job(session, served.series_id, served.last_instance_id, CANDIDATE, "all")
        assert supersede(session, served.series_id, CANDIDATE, by=new.id) is None


def test_a_waiting_shadow_that_lacks_new_slices_is_cancelled_and_the_case_is_not_in_its_way(
    ledger: Engine, layout: Layout
) -> None:
    case = delivered_case(ledger, layout)
    shadow = shadow_job(ledger, case)
    later_slice(ledger)
    with writing(ledger) as session:
        series = session.get_one(Job, case).series_id
        new = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
        supersede(session, series, "tiny", by=new.id)
        refuse_superseded(session, new)
    assert state(ledger, shadow) is JobState.CANCELLED
    with reading(ledger) as session:
        assert events_of(session, "job", shadow)[-1].detail == {"why": f"superseded by job {new.id}"}


@pytest.mark.parametrize("before", [JobState.QUEUED, JobState.RUNNING, *ENDED])
def test_trouble_with_a_series_cancels_its_waiting_shadows_and_leaves_what_has_ended(
    ledger: Engine, layout: Layout, before: JobState
) -> None:
    case = delivered_case(ledger, layout)
    shadow = shadow_job(ledger, case, before)
    with writing(ledger) as session:
        jobs.hold_undelivered(session, session.get_one(Job, case).series_id, "two patients", releasable=False)
    assert state(ledger, shadow) is (before if before in ENDED else JobState.CANCELLED)


def test_lists_and_counts_are_without_shadows_unless_they_are_asked_for(ledger: Engine, layout: Layout) -> None:
    case = delivered_case(ledger, layout)
    shadow = shadow_job(ledger, case, JobState.HELD)
    shadow_job(ledger, delivered_case(ledger, layout, 2))
    with reading(ledger) as session:
        assert [job.id for job in views.all_jobs(session)] == [3, case]
        assert shadow in [job.id for job in views.all_jobs(session, shadow=True)]
        assert [job.id for job in find_jobs(session, Search()).jobs] == [3, case]
        assert [job.id for job in find_jobs(session, Search(shadow=True)).jobs] == [4, shadow]
        assert routes_and_bundles(session) == (["all"], ["tiny"])
        status = views.status_shape(session, 5000.0, 10.0, [])
        assert (status["jobs"]["HELD"], status["jobs"]["QUEUED"], status["jobs"]["DELIVERED"]) == (0, 0, 2)
        assert status["shadow_jobs"] == {"HELD": 1, "QUEUED": 1}
        assert status["oldest_waiting_seconds"] is None
        shape = views.series_detail(session.get_one(Job, case).series, layout.shown)
        assert (shape["jobs"], shape["shadow_jobs"]) == ([case], [shadow])
        assert views.job_shape(session.get_one(Job, shadow), layout.shown)["shadow"] is True


@pytest.mark.parametrize("ended", [JobState.QUEUED, *ENDED])
def test_no_shadow_ever_waits_for_a_person(ledger: Engine, layout: Layout, ended: JobState) -> None:
    case = delivered_case(ledger, layout)
    shadow_job(ledger, case, ended)
    with reading(ledger) as session:
        late = frozenset({session.get_one(Job, case).series_id})
        found = waiting_jobs(session, frozenset(), 0.0), waiting_jobs(session, late, 0.0)
    assert found == ([], [])
