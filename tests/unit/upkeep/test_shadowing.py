"""Which cases a candidate contours in the shadow, and that nobody else's work or files wait for it."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.startup import check_shadows
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Alarm, Job, Series
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import at_once, digest, lateness
from rtseg_daemon.upkeep.quality import quality_shape
from rtseg_daemon.upkeep.shadowing import MOST_WAITING, make_shadows
from tests.arrivals import receive
from tests.shadows import CANDIDATE, delivered_case, shadow_job
from tests.tiny import make_bundle
from tests.unit.ledger.test_jobs import arrival
from tests.unit.upkeep.test_housekeeping import DAY, NOW, OLD, remove_old, stored_job, stored_series
from tests.world import write_config

ENDED = (JobState.QUEUED, JobState.SEGMENTED, JobState.HELD, JobState.FAILED)


@pytest.fixture
def routed(tmp_path: Path) -> Config:
    """A route with version 2.0 of its bundle in the shadow."""
    route = {"name": "all", "match": {"modality": "CT"}, "bundle": "tiny", "destinations": ["tps"]}
    config = write_config(tmp_path, 1, routes=[route | {"shadow": CANDIDATE}])
    make_bundle(tmp_path / "models", version="2.0", members=1)
    return load_config(config)


def shadows(ledger: Engine) -> list[tuple[int, str]]:
    """(series, bundle) of every shadow's job."""
    with reading(ledger) as session:
        return [(job.series_id, job.bundle) for job in session.query(Job).filter(Job.shadow).order_by(Job.id)]


def test_a_delivered_case_gets_one_job_of_each_candidate(ledger: Engine, layout: Layout, routed: Config) -> None:
    case = delivered_case(ledger, layout)
    assert make_shadows(ledger, routed, NOW) == 1
    assert make_shadows(ledger, routed, NOW) == 0
    assert shadows(ledger) == [(1, CANDIDATE)]
    with reading(ledger) as session:
        (job,) = session.query(Job).filter(Job.shadow)
        assert (job.state, job.last_instance_id) == (JobState.QUEUED, session.get_one(Job, case).last_instance_id)
        assert events_of(session, "job", job.id)[-1].detail == {"of": case}


def test_a_case_without_destination_is_done_when_it_is_segmented(
    ledger: Engine, layout: Layout, routed: Config
) -> None:
    job = stored_job(ledger, layout, stored_series(ledger, layout))
    assert make_shadows(ledger, routed, NOW) == 0, "not delivered yet"
    with writing(ledger) as session:
        for delivery in session.get_one(Job, job).deliveries:
            session.delete(delivery)
    assert make_shadows(ledger, routed, NOW) == 1


@pytest.mark.parametrize("why", ["identity in doubt", "looked at only", "images gone", "of another route", "its own"])
def test_what_is_no_case_of_the_route_gets_none(ledger: Engine, layout: Layout, routed: Config, why: str) -> None:
    case = delivered_case(ledger, layout)
    with writing(ledger) as session:
        job = session.get_one(Job, case)
        if why == "identity in doubt":
            job.series.releasable = False
        elif why == "looked at only":
            job.no_send = True
        elif why == "images gone":
            job.series.state = SeriesState.REMOVED
        elif why == "of another route":
            job.route = "other"
        else:
            assert routed.models.directory is not None
            job.bundle_digest = load_bundle(routed.models.directory, CANDIDATE).digest
    assert make_shadows(ledger, routed, NOW) == 0


def test_few_shadows_wait_at_a_time_and_the_newest_cases_come_first(
    ledger: Engine, layout: Layout, routed: Config
) -> None:
    for number in range(1, MOST_WAITING + 3):
        delivered_case(ledger, layout, number)
    assert make_shadows(ledger, routed, NOW) == MOST_WAITING
    assert make_shadows(ledger, routed, NOW) == 0
    assert {series for series, _ in shadows(ledger)} == set(range(3, MOST_WAITING + 3))


def test_only_the_newest_result_of_a_series_is_shadowed(ledger: Engine, layout: Layout, routed: Config) -> None:
    case = delivered_case(ledger, layout)
    with writing(ledger) as session:
        decisions.rerun(session, case, "anna")
    assert make_shadows(ledger, routed, NOW) == 0, "a newer one is on its way"


def test_what_a_person_let_go_of_a_case_is_let_go_for_the_candidate(
    ledger: Engine, layout: Layout, routed: Config
) -> None:
    case = delivered_case(ledger, layout)
    with writing(ledger) as session:
        job = session.get_one(Job, case)
        job.released_by, job.verdicts = "anna", [{"gate": "series", "verdict": "hold", "reasons": ["feet first"]}]
    make_shadows(ledger, routed, NOW)
    with reading(ledger) as session:
        (job,) = session.query(Job).filter(Job.shadow)
        assert (job.released_by, job.verdicts[0]["reasons"]) == ("anna", ["feet first"])


def test_a_candidate_that_is_gone_makes_no_job_and_stops_no_other(
    ledger: Engine, layout: Layout, routed: Config
) -> None:
    delivered_case(ledger, layout)
    both = routed.routes[0].model_copy(update={"shadow": ("tiny@9.9", CANDIDATE)})
    assert make_shadows(ledger, routed.model_copy(update={"routes": (both,)}), NOW) == 1


def test_a_candidate_must_be_there_when_the_daemon_starts(routed: Config) -> None:
    check_shadows(routed)
    gone = routed.routes[0].model_copy(update={"shadow": ("tiny@9.9",)})
    with pytest.raises(ConfigError, match=r"route 'all', shadow tiny@9\.9: bundle tiny has no version 9\.9"):
        check_shadows(routed.model_copy(update={"routes": (gone,)}))


@pytest.mark.parametrize(
    ("shadow", "fault"),
    [("tiny", "name the version too"), ("tiny@", "name the version too"), (["tiny@2.0"] * 2, "is named twice")],
)
def test_a_shadow_that_names_no_version_is_a_mistake(tmp_path: Path, shadow: object, fault: str) -> None:
    route = {"name": "all", "match": {"modality": "CT"}, "bundle": "tiny", "shadow": shadow}
    with pytest.raises(ConfigError, match=fault):
        load_config(write_config(tmp_path, 1, routes=[route]))


@pytest.mark.parametrize("state", ENDED)
def test_a_case_is_never_late_for_its_shadow_and_nobody_is_told(
    ledger: Engine, layout: Layout, config: Config, state: JobState
) -> None:
    shadow_job(ledger, delivered_case(ledger, layout), state, at=NOW)
    assert lateness.raise_late(ledger, 1800, NOW) == 0
    assert at_once.raise_new(ledger, ("HELD", "FAILED"), NOW) == 0
    with reading(ledger) as session:
        day = digest.day_of(session, config, layout, NOW)
        assert (day.held, day.failed, day.late) == ([], [], [])
        assert session.query(Alarm).count() == 0


def test_quality_counts_no_shadow(ledger: Engine, layout: Layout) -> None:
    shadow_job(ledger, delivered_case(ledger, layout), JobState.SEGMENTED)
    with reading(ledger) as session:
        shape = quality_shape(session, 0.0, NOW)
    assert [(one["name"], one["cases"]) for one in shape["bundles"]] == [("tiny", 1)]
    assert shape["throughput"] == [shape["throughput"][0] | {"jobs": 1, "delivered": 1, "held": 0, "failed": 0}]


@pytest.mark.parametrize("state", ENDED)
def test_retention_waits_for_no_shadow_and_takes_its_files_too(ledger: Engine, layout: Layout, state: JobState) -> None:
    shadow = shadow_job(ledger, delivered_case(ledger, layout), state, at=NOW - DAY)
    layout.result(shadow).mkdir()
    assert remove_old(ledger, layout) == 1
    assert not layout.result(shadow).exists()
    with reading(ledger) as session:
        expected = JobState.CANCELLED if state is JobState.QUEUED else state
        assert session.get_one(Job, shadow).state is expected
        assert session.get_one(Series, 1).state is SeriesState.REMOVED


def test_of_images_that_one_host_has_removed_in_part_no_shadow_is_made(
    ledger: Engine, layout: Layout, routed: Config
) -> None:
    case = delivered_case(ledger, layout)
    with writing(ledger) as session:
        receive(session, arrival(99, host="south", series_instance_uid="1.3.1", received_at=OLD))
        session.get_one(Series, 1).state = SeriesState.COMPLETE
        session.get_one(Job, case).last_instance_id = last_instance_id(session, 1)
    waiting = shadow_job(ledger, case)
    assert remove_old(ledger, layout) == 1
    with writing(ledger) as session:
        assert session.get_one(Series, 1).state is SeriesState.COMPLETE, "the other host has its images still"
        job = session.get_one(Job, waiting)
        assert job.state is JobState.CANCELLED
        job.bundle = "an earlier candidate"
    assert make_shadows(ledger, routed, NOW) == 0


def test_retention_leaves_the_files_that_a_shadow_is_being_made_of(ledger: Engine, layout: Layout) -> None:
    shadow = shadow_job(ledger, delivered_case(ledger, layout))
    with writing(ledger) as session:
        jobs.claim_job(session, "w", at=OLD)
    assert remove_old(ledger, layout) == 0
    with writing(ledger) as session:
        jobs.fail(session, shadow, "no engine", lease=Lease(shadow, "w", 1))
    assert remove_old(ledger, layout) == 1
