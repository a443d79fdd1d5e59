"""A person's release, from the sweep that held a series to the worker that contours it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import Engine

from rtseg_daemon import cli
from rtseg_daemon.config.sections import Database, Logging
from rtseg_daemon.daemon.worker import claim, desk_of
from rtseg_daemon.errors import StorageError
from rtseg_daemon.gates.verdict import Verdict
from rtseg_daemon.ledger import decisions, jobs, refusals
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import Ending, JobState
from rtseg_daemon.logs import configure
from rtseg_daemon.storage import Layout, damage
from rtseg_daemon.stored import OwnFiles
from rtseg_daemon.work import case
from rtseg_daemon.work.job import run_job
from rtseg_daemon.work.release import marked_structure_set
from tests.room import Room
from tests.stub import load_stub
from tests.tiny import make_bundle
from tests.world import patient, write_config


class Station:
    """A room with a worker, whose network is a stub."""

    def __init__(self, folder: Path, ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        configure(Logging(), "worker-0")
        monkeypatch.setattr(case, "load_segmenter", load_stub)
        self.folder, self.ledger = folder, ledger
        self.room = Room(folder, ledger)
        self.room.config = self.room.config.model_copy(update={"database": Database(url=str(ledger.url))})
        shutil.rmtree(folder / "models")
        make_bundle(folder / "models")
        self.images = [dcmread(path) for path in patient(folder / "sent")]

    @property
    def layout(self) -> Layout:
        return self.room.store.layout

    def job(self) -> Job:
        """The newest job of the series."""
        return self.room.of(self.images).jobs[-1]

    def work(self) -> Job:
        """Let a worker do the job that waits; returns how it stands then."""
        desk = desk_of(self.room.config, "worker-0", "cpu")
        claimed = claim(desk)
        assert claimed is not None
        run_job(desk, claimed)
        desk.engine.dispose()
        return self.job()

    def release(self) -> Job:
        """As `jobs release` does."""
        number = self.job().id
        marked = marked_structure_set(self.ledger, OwnFiles(self.layout), number)
        with writing(self.ledger) as session:
            decisions.release(session, number, "anna", "looked at it", ["tps"], marked=marked)
        return self.job()

    def structure_set(self) -> Dataset:
        """What a destination would get now."""
        job = self.job()
        assert job.rtstruct_path is not None
        path = self.layout.directory / job.rtstruct_path
        assert not damage(path, job.rtstruct_sha256 or "")
        dataset = dcmread(path)
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == job.rtstruct_sop_instance_uid
        return dataset


def lines_of(dataset: Dataset) -> list[str]:
    """What the ROIs say of themselves, at both places."""
    rois = [roi.ROIDescription for roi in dataset.StructureSetROISequence]
    return rois + [roi.ROIObservationDescription for roi in dataset.RTROIObservationsSequence]


def assert_marked(station: Station, why: str) -> None:
    """Every ROI says that a person let the series go, in the file and in the ledger."""
    job = station.job()
    lines = [*lines_of(station.structure_set()), *(roi["comment"] for roi in job.rois)]
    assert len(lines) >= 3
    for line in lines:
        assert line.split(" ")[0] in ("REVIEW", "REJECT"), line
        assert f"released by a person: {why}" in line
        assert "dice=" not in line
    assert set(job.flags.values()) <= {"REVIEW", "REJECT"}
    assert all(roi["predicted_dice"] is None for roi in job.rois)


@pytest.fixture
def station(tmp_path: Path, ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> Station:
    return Station(tmp_path, ledger, monkeypatch)


def test_one_release_suffices_for_a_job_held_by_its_headers(station: Station) -> None:
    for image in station.images:
        image.PatientPosition = "HFP"
    station.room.put(station.images)
    station.room.pass_time(10)
    held = station.job()
    assert held.state is JobState.HELD
    assert held.verdicts[0]["verdict"] == "hold"
    station.release()
    job = station.work()
    assert job.state is JobState.SEGMENTED, job.error
    assert_marked(station, "patient position HFP")


def broken_off(station: Station) -> None:
    station.room.put(station.images, Ending.ABORTED)
    station.room.pass_time(3601)


def refused(station: Station) -> None:
    station.room.put(station.images[:-1])
    with writing(station.ledger) as session:
        uids = str(station.images[0].SeriesInstanceUID), str(station.images[-1].SOPInstanceUID)
        refusals.note_refusal(session, 1, *uids, at=1e9 + station.room.seconds)
    station.room.pass_time(0)
    station.room.pass_time(3601)


@pytest.mark.parametrize(
    ("happening", "why"), [(broken_off, "its transfer broke off"), (refused, "1 of its images was refused")]
)
def test_a_release_of_what_reception_alone_held_marks_every_roi(
    station: Station, happening: Callable[[Station], None], why: str
) -> None:
    happening(station)
    held = station.job()
    assert (held.state, held.releasable) == (JobState.HELD, True)
    assert [(one["gate"], one["verdict"]) for one in held.verdicts] == [("series", "pass"), ("reception", "hold")]
    station.release()
    assert station.work().state is JobState.SEGMENTED
    assert_marked(station, why)


def test_an_image_refused_after_the_contours_were_made_marks_them_when_a_person_lets_them_go(station: Station) -> None:
    station.room.put(station.images[:-1])
    station.room.pass_time(10)
    made = station.work()
    before = station.structure_set()
    assert not any("released" in line for line in lines_of(before))
    with writing(station.ledger) as session:
        uids = str(station.images[0].SeriesInstanceUID), str(station.images[-1].SOPInstanceUID)
        refusals.note_refusal(session, 1, *uids, at=1e9 + station.room.seconds)
    assert station.job().state is JobState.HELD
    assert station.release().state is JobState.SEGMENTED
    assert_marked(station, "an image of its series was refused")
    after = station.structure_set()
    assert after.SOPInstanceUID != before.SOPInstanceUID, "what may have been sent keeps its UID"
    assert after.SeriesInstanceUID == before.SeriesInstanceUID
    assert after.ROIContourSequence == before.ROIContourSequence
    assert made.rtstruct_path != station.job().rtstruct_path


def test_a_release_of_what_the_organ_gate_held_marks_every_roi(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case, "judge_organs", lambda organs, *_: (organs, Verdict("hold", ("Parotid_L: wrong side",))))
    station.room.put(station.images)
    station.room.pass_time(10)
    assert station.work().state is JobState.HELD
    assert station.release().state is JobState.SEGMENTED
    assert_marked(station, "Parotid_L: wrong side")


def test_the_command_releases_a_stored_structure_set_with_its_mark(
    station: Station, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    station.room.put(station.images)
    station.room.pass_time(10)
    station.work()
    with writing(station.ledger) as session:
        jobs.hold_undelivered(session, 1, "looked odd", releasable=True)
    changes = {
        "database": {"url": str(station.ledger.url)},
        "routes": [{"name": "r", "match": {"modality": "CT"}, "bundle": "tiny", "destinations": ["tps"]}],
    }
    config = write_config(tmp_path, 1, **changes)
    monkeypatch.setattr("sys.argv", ["rtseg-daemon", "jobs", "release", "1", "--why", "ok", "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert station.job().state is JobState.SEGMENTED
    assert_marked(station, "looked odd")


def test_a_release_given_twice_is_the_same_object(station: Station) -> None:
    station.room.put(station.images)
    station.room.pass_time(10)
    station.work()
    with writing(station.ledger) as session:
        jobs.hold_undelivered(session, 1, "looked odd", releasable=True)
    first = marked_structure_set(station.ledger, OwnFiles(station.layout), station.job().id)
    assert first == marked_structure_set(station.ledger, OwnFiles(station.layout), station.job().id)


def test_a_rerun_of_what_reception_held_is_held_again(station: Station) -> None:
    broken_off(station)
    station.release()
    station.work()
    with writing(station.ledger) as session:
        decisions.rerun(session, station.job().id, "anna")
    job = station.work()
    assert (job.run, job.state, job.rtstruct_path) == (2, JobState.HELD, None)
    assert job.error is not None
    assert "its transfer broke off" in job.error
    station.release()
    assert station.work().state is JobState.SEGMENTED
    assert_marked(station, "its transfer broke off")


def test_a_damaged_structure_set_is_not_marked_and_sent(station: Station) -> None:
    station.room.put(station.images)
    station.room.pass_time(10)
    job = station.work()
    with writing(station.ledger) as session:
        jobs.hold_undelivered(session, 1, "looked odd", releasable=True)
    (station.layout.directory / str(job.rtstruct_path)).write_bytes(b"else")
    with pytest.raises(StorageError, match="was altered"):
        station.release()
    assert station.job().state is JobState.HELD
