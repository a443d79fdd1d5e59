"""What becomes of a job whose series, bundle, device or ledger is not as it should be."""

import hashlib
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from pydicom import dcmread
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError, ProgrammingError

from rtseg_daemon.bundles import Bundle, load_bundle, models_of
from rtseg_daemon.daemon.children import why_ended
from rtseg_daemon.daemon.worker import CARD_LOST_STATUS, claim, follow, work
from rtseg_daemon.errors import EngineError, LeaseLost, SeriesError, StateError
from rtseg_daemon.gates.verdict import Verdict
from rtseg_daemon.ledger import decisions, jobs, views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.loss import LedgerUnreachable
from rtseg_daemon.ledger.orphans import worker_lost
from rtseg_daemon.ledger.schema import Instance
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.upkeep.activation import activate
from rtseg_daemon.versions import stamp
from rtseg_daemon.work import case
from rtseg_daemon.work import job as job_module
from rtseg_daemon.work.heartbeat import Heartbeat
from rtseg_daemon.work.job import options_for
from tests.stub import load_stub
from tests.tiny import make_bundle
from tests.unit.work.bench import Bench, raising


def test_a_good_series_is_segmented_with_every_gate_passed(bench: Bench) -> None:
    job = bench.run()
    assert job["state"] == "SEGMENTED"
    assert [gate["gate"] for gate in job["verdicts"]] == ["series", "voxels", "organs", "written file"]
    assert Path(job["rtstruct_path"]).is_file()
    assert (Path(job["rtstruct_path"]).parent / "entropy.npz").is_file()
    assert [delivery["destination"] for delivery in job["deliveries"]] == ["tps"]
    assert {"read series", "structure set"} <= set(job["seconds"])


def test_an_image_that_was_altered_since_it_was_received_is_not_contoured(bench: Bench, ledger: Engine) -> None:
    file = bench.files[4]
    content = file.read_bytes()
    file.write_bytes(content[:-2] + bytes(b ^ 1 for b in content[-2:]))
    job = bench.run()
    assert job["state"] == "FAILED"
    assert f"1 of {len(bench.files)} stored files are damaged: {file.name} was altered" in job["error"]
    assert "sent again, then retry the job" in job["error"]
    file.write_bytes(content)
    with writing(ledger) as session:
        decisions.retry(session, bench.job, "me")
    assert bench.run()["state"] == "SEGMENTED"


def test_the_route_decides_about_rings_and_rejected_organs(bench: Bench, ledger: Engine) -> None:
    route = bench.desk.config.routes[0]
    with reading(ledger) as session:
        job = views.find_job(session, bench.job)
        assert options_for(job, None) == options_for(job, route) == case.Options(run=1)
        asked = route.model_copy(update={"rings": True, "rejected": "send"})
        assert options_for(job, asked) == case.Options(run=1, rejected="send", rings=True)


def test_a_missing_slice_holds_the_job_with_its_place(bench: Bench, ledger: Engine) -> None:
    gone = bench.files[9]
    with writing(ledger) as session:
        for instance in views.find_job(session, bench.job).series.instances:
            if instance.path.endswith(gone.name):
                session.delete(instance)
    job = bench.run()
    assert job["state"] == "HELD"
    assert "missing at z = -3.0 mm" in job["error"]
    assert job["rtstruct_path"] is None


@pytest.mark.parametrize(
    ("error", "state"), [(SeriesError("no body found"), "HELD"), (EngineError("no engine runs it"), "FAILED")]
)
def test_an_error_with_a_name_ends_the_job_in_its_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, state: str
) -> None:
    monkeypatch.setattr(case, "process_case", raising(error))
    job = bench.run()
    assert (job["state"], job["error"]) == (state, str(error))


def test_a_release_that_could_change_nothing_is_refused_with_the_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ledger: Engine
) -> None:
    monkeypatch.setattr(
        case, "process_case", raising(SeriesError("pixel_data: it cannot be decompressed", "pixel_data"))
    )
    assert bench.run()["state"] == "HELD"
    with (
        writing(ledger) as session,
        pytest.raises(StateError, match="may not be released: pixel_data: it cannot be decompressed"),
    ):
        decisions.release(session, bench.job, "anna", "looked", ["tps"])


def test_a_job_of_a_route_that_is_gone_fails_and_is_not_taken_for_done(bench: Bench) -> None:
    bench.desk = replace(bench.desk, config=bench.desk.config.model_copy(update={"routes": ()}))
    job = bench.run()
    assert (job["state"], job["deliveries"]) == ("FAILED", [])
    assert "its route 'all' is no longer configured" in job["error"]


def test_a_release_of_the_images_does_not_let_go_what_nobody_has_seen(bench: Bench) -> None:
    hold = Verdict("hold", ("too few organs",))
    seen = frozenset({"series"})
    for gate, held in (
        ("series", False),
        ("series (a)", False),
        ("voxels", True),
        ("organs", True),
        ("organs (a)", True),
    ):
        result = case.CaseResult((), ((gate, hold),), released=seen)
        assert result.held is held
        assert not replace(result, forced=True).held


def test_images_that_a_person_let_go_leave_their_mark_on_every_organ(bench: Bench, ledger: Engine) -> None:
    for path in bench.files:
        image = dcmread(path)
        image.PatientPosition = "HFP"
        image.save_as(path)
    with writing(ledger) as session:
        for instance, path in zip(session.query(Instance).order_by(Instance.id), bench.files, strict=True):
            instance.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    held = bench.run()
    assert held["state"] == "HELD"
    with writing(ledger) as session:
        decisions.release(session, bench.job, "anna", "looked", ["tps"])
    job = bench.run()
    assert job["state"] == "SEGMENTED"
    for roi in job["rois"]:
        assert roi["flag"] in ("REVIEW", "REJECT")
        assert "released by a person: patient position HFP" in roi["comment"]
        assert roi["predicted_dice"] is None


def test_an_error_that_nobody_foresaw_fails_the_job_and_quotes_no_data(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(case, "process_case", raising(ValueError("CANARY^PATIENT")))
    job = bench.run()
    assert job["state"] == "FAILED"
    assert "ValueError at" in job["error"]
    assert "CANARY" not in job["error"] + capsys.readouterr().err


def nothing_answers() -> OperationalError:
    """What SQLAlchemy makes of a server that is not there."""
    return OperationalError("SELECT 1", {}, psycopg.OperationalError("connection failed: Connection refused"))


def locked() -> OperationalError:
    """What it makes of an SQLite file that somebody writes for too long."""
    return OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (nothing_answers(), "connection failed: Connection refused"),
        (locked(), "database is locked"),
        (LedgerUnreachable("the ledger cannot be reached (no such device)"), "cannot be reached (no such device)"),
    ],
)
def test_a_ledger_that_is_away_while_a_job_is_read_costs_the_job_nothing_but_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    with monkeypatch.context() as away:
        away.setattr(job_module, "what_it_takes", raising(error))
        job = bench.run()
    assert (job["state"], job["attempts"]) == ("QUEUED", 0)
    assert job["error"].startswith("the ledger could not be used (")
    assert said in job["error"]
    assert claim(bench.desk) is None, "not at once"
    bench.pass_time()
    assert bench.run()["state"] == "SEGMENTED"


def test_a_wrong_statement_is_no_ledger_that_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ProgrammingError("SELECT 1", {}, sqlite3.ProgrammingError("no such column"))
    monkeypatch.setattr(job_module, "what_it_takes", raising(wrong))
    job = bench.run()
    assert job["state"] == "FAILED"
    assert "an error that nobody foresaw: ProgrammingError at" in job["error"]


def test_while_a_card_works_the_next_jobs_series_is_read_and_that_job_reads_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run()
    with writing(bench.ledger) as session:
        first, second = (decisions.rerun(session, bench.job, "anna").id for _ in range(2))
    monkeypatch.setattr("tests.stub.StubSegmenter.engine", SimpleNamespace(on_card=True))
    read, honest = [], case.read_case
    monkeypatch.setattr(
        case, "read_case", lambda *told: (read.append(threading.current_thread().name), honest(*told))[1]
    )
    bench.job = first
    assert bench.run()["state"] == "SEGMENTED"
    bench.job = second
    assert bench.run()["state"] == "SEGMENTED"
    assert [name.startswith("read-ahead") for name in read] == [False, True]


def test_a_card_that_fails_ends_the_worker_and_leaves_the_job_to_the_supervisor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case, "load_segmenter", raising(RuntimeError("CUDA error: device-side assert triggered")))
    with pytest.raises(SystemExit) as ended:
        work(bench.desk, threading.Event())
    assert ended.value.code == CARD_LOST_STATUS
    with writing(bench.ledger) as session:
        worker_lost(session, bench.desk.owner, why_ended("worker-0", CARD_LOST_STATUS), 3)
    with reading(bench.ledger) as session:
        job = views.job_detail(views.find_job(session, bench.job), bench.layout.shown)
    assert job["state"] == "QUEUED"
    assert job["attempts"] == 1
    assert "worker-0 ended with exit status 3" in job["error"]


def test_a_job_cancelled_in_mid_inference_leaves_nothing_to_send(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = job_module.process

    def cancelled(*arguments: Any) -> Any:
        with writing(ledger) as session:
            jobs.cancel(session, bench.job, "anna")
        return honest(*arguments)

    monkeypatch.setattr(job_module, "process", cancelled)
    job = bench.run()
    assert (job["state"], job["deliveries"]) == ("CANCELLED", [])


def test_a_beat_of_a_lost_job_stops_the_work(bench: Bench, ledger: Engine) -> None:
    lease = claim(bench.desk)
    assert lease is not None
    beat = Heartbeat(ledger, lease)
    beat("infer")
    with writing(ledger) as session:
        worker_lost(session, bench.desk.owner, "hung", 3)
    with pytest.raises(LeaseLost):
        beat("masks")


def test_a_full_disk_costs_time_and_not_the_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    honest = case.write_case

    def full_twice(*arguments: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        honest(*arguments)

    monkeypatch.setattr(case, "write_case", full_twice)
    monkeypatch.setattr("rtseg_daemon.work.endings.time.sleep", lambda _seconds: None)
    assert bench.run()["state"] == "SEGMENTED"
    assert len(tries) == 3


def test_a_file_that_differs_from_the_organs_is_held_and_nobody_may_release_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtseg_daemon.gates.written_file.differences", lambda *_a, **_k: ["Brainstem: overlaps by 0.5"])
    job = bench.run()
    assert (job["state"], job["releasable"]) == ("HELD", False)


def test_a_job_done_again_after_a_crash_writes_the_same_uid_and_a_rerun_another(bench: Bench, ledger: Engine) -> None:
    first = bench.run()["rtstruct_sop_instance_uid"]
    with writing(ledger) as session:
        session.delete(views.find_job(session, bench.job).deliveries[0])
        views.find_job(session, bench.job).state = JobState.QUEUED
    assert bench.run()["rtstruct_sop_instance_uid"] == first
    with writing(ledger) as session:
        bench.job = decisions.rerun(session, bench.job, "anna").id
    assert bench.run()["rtstruct_sop_instance_uid"] != first


def with_bundle(bench: Bench, ledger: Engine, names: str, research: bool = False, allowed: bool = True) -> None:
    """The job is to be done with these bundles instead; those that are not there are made.

    `research`: they are for research; `allowed`: the route says so too.
    """
    models = bench.desk.config.models.directory
    assert models is not None
    for name in names.split("+"):
        if not (models / name).exists():
            make_bundle(models, name, intended_use="research" if research else "evaluation")
    if research and allowed:
        (route,) = bench.desk.config.routes
        allowing = (route.model_copy(update={"research": True}),)
        bench.desk = replace(bench.desk, config=bench.desk.config.model_copy(update={"routes": allowing}))
    with writing(ledger) as session:
        views.find_job(session, bench.job).bundle = names


def test_the_bundles_of_a_joined_job_run_one_after_the_other_into_one_structure_set(
    bench: Bench, ledger: Engine
) -> None:
    with_bundle(bench, ledger, "tiny+second", research=True)
    job = bench.run()
    assert (job["state"], job["bundle"]) == ("SEGMENTED", "tiny+second")
    organs = ["Brainstem", "SpinalCord", "Parotid_L"]
    assert list(job["flags"]) == [*organs, *(f"{name}^2" for name in organs)]
    assert [str(roi.ROIName) for roi in dcmread(job["rtstruct_path"]).StructureSetROISequence] == list(job["flags"])
    assert {job["flags"][f"{name}^2"] for name in organs} == {"REVIEW"}
    assert len(job["bundle_digest"].split("+")) == 2
    folder = Path(job["rtstruct_path"]).parent
    assert sorted(path.name for path in folder.iterdir()) == ["RTSTRUCT.dcm", "entropy-second.npz", "entropy.npz"]
    assert len(bench.desk.loaded.segmenters) == 2
    assert [delivery["destination"] for delivery in job["deliveries"]] == ["tps"]


def test_research_made_for_a_route_that_allows_it_no_more_is_not_sent(bench: Bench, ledger: Engine) -> None:
    with_bundle(bench, ledger, "trial", research=True, allowed=False)
    job = bench.run()
    assert (job["state"], job["deliveries"]) == ("FAILED", [])
    assert "bundle trial is for research only" in job["error"]
    with writing(ledger) as session:
        bench.job = decisions.rerun(session, bench.job, "anna", no_send=True).id
    assert bench.run()["state"] == "SEGMENTED"


def test_a_job_of_a_bundle_that_is_gone_fails_with_its_name(bench: Bench, ledger: Engine) -> None:
    with writing(ledger) as session:
        views.find_job(session, bench.job).bundle = "tiny+gone"
    job = bench.run()
    assert job["state"] == "FAILED"
    assert "no bundle 'gone'" in job["error"]


def test_the_next_job_has_the_version_that_was_activated_and_the_one_at_work_keeps_its_own(
    bench: Bench, ledger: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = models_of(bench.desk.config)
    make_bundle(models, version="2.0", members=1)
    old, new = load_bundle(models, "tiny").digest, load_bundle(models, "tiny@2.0").digest
    stamps = {"tiny": stamp(models, "tiny")}

    def load_and_activate(bundle: Bundle, *arguments: Any) -> Any:
        if bundle.digest == old:
            activate(models, "tiny", "2.0", who="me", why="while a job runs", check=lambda _: "passed")
        return load_stub(bundle, *arguments)

    monkeypatch.setattr(case, "load_segmenter", load_and_activate)
    job = bench.run()
    assert (job["state"], job["bundle_digest"]) == ("SEGMENTED", old)
    assert "tiny 1.0" in dcmread(job["rtstruct_path"]).StructureSetLabel
    follow(bench.desk.loaded, bench.desk.config, stamps)
    assert [kept.bundle.version for kept in bench.desk.loaded.segmenters.values()] == ["2.0"]
    with writing(ledger) as session:
        bench.job = decisions.rerun(session, bench.job, "me").id
    job = bench.run()
    assert (job["state"], job["bundle_digest"]) == ("SEGMENTED", new)
    assert "tiny 2.0" in dcmread(job["rtstruct_path"]).StructureSetLabel


def test_a_rerun_refers_to_the_structure_set_that_it_supersedes(bench: Bench, ledger: Engine) -> None:
    first = bench.run()
    with writing(ledger) as session:
        bench.job = decisions.rerun(session, bench.job, "anna").id
    second = bench.run()
    assert second["supersedes"] == first["id"]
    assert "PredecessorStructureSetSequence" not in dcmread(first["rtstruct_path"])
    (item,) = dcmread(second["rtstruct_path"]).PredecessorStructureSetSequence
    assert item.ReferencedSOPInstanceUID == first["rtstruct_sop_instance_uid"]
