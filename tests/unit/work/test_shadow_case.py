"""A worker with a shadow's job: the result stays, the serving bundle stays warm, and others go first."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rtseg_daemon.bundles import Bundle, load_bundle, models_of
from rtseg_daemon.daemon.worker import claim
from rtseg_daemon.gates.verdict import Verdict
from rtseg_daemon.ledger import jobs, views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Delivery, Job
from rtseg_daemon.upkeep.activation import activate
from rtseg_daemon.work import case, job, painter
from rtseg_daemon.work.job import run_job
from tests.shadows import CANDIDATE
from tests.stub import load_stub
from tests.tiny import make_bundle
from tests.unit.work.bench import Bench, events_of_job


@pytest.fixture
def candidate(bench: Bench) -> Bench:
    """The bench's case is done, and version 2.0 waits in its shadow."""
    make_bundle(models_of(bench.desk.config), version="2.0", members=1)
    bench.run()
    with writing(bench.ledger) as session:
        served = session.get_one(Job, bench.job)
        shadow = jobs.create_job(
            session, served.series_id, served.last_instance_id, CANDIDATE, served.route, shadow=True
        )
        bench.job = shadow.id
    return bench


def test_a_shadows_result_is_stored_and_goes_nowhere(candidate: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[Any] = []
    monkeypatch.setattr(painter.Painter, "paint", lambda *arguments: painted.append(arguments))
    found = candidate.run()
    assert (found["state"], found["deliveries"]) == ("SEGMENTED", [])
    assert Path(found["rtstruct_path"]).is_file()
    assert found["bundle_digest"] == load_bundle(models_of(candidate.desk.config), CANDIDATE).digest
    assert painted == [], "nobody reviews it"
    with reading(candidate.ledger) as session:
        served, shadow = session.query(Job).order_by(Job.id)
        assert served.rtstruct_sop_instance_uid != shadow.rtstruct_sop_instance_uid
        assert session.query(Delivery).count() == 1, "that of the case itself"


def test_a_shadow_that_a_gate_would_hold_ends_held_with_its_contours(
    candidate: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Verdict("hold", ("left and right may be exchanged",))
    monkeypatch.setattr(case, "judge_organs", lambda organs, *_rest, **_more: (organs, said))
    found = candidate.run()
    assert found["state"] == "HELD"
    assert Path(found["rtstruct_path"]).is_file()


def test_the_serving_bundle_stays_loaded_beside_a_shadow(candidate: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(bundle: Bundle, *rest: Any) -> Any:
        asked.append(bundle.version)
        return load_stub(bundle, *rest)

    monkeypatch.setattr(case, "load_segmenter", load)
    warm = dict(candidate.desk.loaded.segmenters)
    assert candidate.run()["state"] == "SEGMENTED"
    assert asked == ["2.0"]
    assert candidate.desk.loaded.segmenters == warm, "no case waits for it to be loaded again"


def test_a_shadow_at_work_makes_way_for_a_job_that_comes_and_is_done_later(
    candidate: Bench, monkeypatch: pytest.MonkeyPatch, ledger: Engine
) -> None:
    def while_it_works(*arguments: Any) -> Any:
        with writing(ledger) as session:
            served = session.get_one(Job, 1)
            jobs.create_job(session, served.series_id, served.last_instance_id, "tiny", "all", run=2)
        return load_stub(*arguments)

    monkeypatch.setattr(case, "load_segmenter", while_it_works)
    assert candidate.run()["state"] == "QUEUED"
    assert events_of_job(candidate)[-2:] == ["claimed", "made way"]
    monkeypatch.setattr(case, "load_segmenter", load_stub)
    wanted = claim(candidate.desk)
    assert wanted is not None
    run_job(candidate.desk, wanted)
    with reading(ledger) as session:
        assert (views.find_job(session, wanted.job_id).run, views.find_job(session, wanted.job_id).shadow) == (2, False)
    assert candidate.run()["state"] == "SEGMENTED"
    assert claim(candidate.desk) is None


def test_a_shadows_series_is_not_read_ahead(candidate: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(candidate.desk.ahead, "start", lambda *arguments: started.append(arguments))
    job.read_next(candidate.desk)
    assert started == []


def test_a_canary_and_the_version_whose_place_it_takes_stay_loaded_side_by_side(bench: Bench) -> None:
    models, loaded = models_of(bench.desk.config), bench.desk.loaded
    make_bundle(models, version="2.0", members=1)
    make_bundle(models, version="3.0", members=3)
    loaded.warm(bench.desk.config, ["tiny", CANDIDATE])
    assert sorted(one.bundle.version for one in loaded.segmenters.values()) == ["1.0", "2.0"]
    activate(models, "tiny", "3.0", who="me", why="better", check=lambda _bundle: "")
    loaded.warm(bench.desk.config, ["tiny"])
    assert sorted(one.bundle.version for one in loaded.segmenters.values()) == ["2.0", "3.0"], "1.0 serves no more"
