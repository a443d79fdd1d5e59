"""A ledger that is older than the storage: what it does not know enters it before anything is contoured or sent."""

import copy
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from sqlalchemy import Engine

from rtseg_daemon.daemon import compared
from rtseg_daemon.daemon.compared import compare_storage
from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Alarm, Instance, Job, Series
from rtseg_daemon.ledger.series import associations_of
from rtseg_daemon.ledger.states import Ending, InstanceState, JobState, SeriesState
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import doctor
from rtseg_daemon.upkeep.backup import back_up
from tests.arrivals import receive
from tests.faults.conftest import series
from tests.room import Room
from tests.synthetic import uid


class Clinic:
    """A room whose ledger can be put back to what it was."""

    def __init__(self, folder: Path, ledger: Engine) -> None:
        self.room = Room(folder, ledger)
        self.database = folder / "rtseg.db"
        self.images = series("a")
        self.saved: Path | None = None

    @property
    def layout(self) -> Layout:
        return self.room.store.layout

    @property
    def engine(self) -> Engine:
        return self.room.engine

    def save(self) -> None:
        self.saved = back_up(self.database, self.layout.backup)

    def put_back(self) -> None:
        """By hand, as an administrator may: no mark tells of it."""
        assert self.saved is not None
        self.engine.dispose()
        for part in ("", "-wal", "-shm"):
            self.database.with_name(self.database.name + part).unlink(missing_ok=True)
        shutil.copy(self.saved, self.database)
        self.room.engine = open_ledger(f"sqlite:///{self.database}")
        self.room.clock.seen.clear()

    def compare(self) -> None:
        compare_storage(self.engine, self.layout)

    def series(self) -> Series:
        return self.room.of(self.images)

    def kept(self) -> set[str]:
        with reading(self.engine) as session:
            rows = session.query(Instance.sop_instance_uid).filter_by(state=InstanceState.KEPT)
            return {one for (one,) in rows}

    def alarms(self) -> list[str]:
        with reading(self.engine) as session:
            return [alarm.message for alarm in session.query(Alarm).filter_by(kind="restored")]

    def findings(self) -> list[tuple[str, str]]:
        return [(one.kind, one.subject) for one in doctor.examine(self.engine, self.room.config, repair=False)]

    def contoured(self, job: int, images: Sequence[Dataset], comment: str = "OK vvc=0.1 entropy=0.1") -> None:
        """A structure set of these images, as a worker leaves it."""
        frame, study, referred = Dataset(), Dataset(), Dataset()
        referred.SeriesInstanceUID = images[0].SeriesInstanceUID
        referred.ContourImageSequence = Items([])
        for image in images:
            reference = Dataset()
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
                image.SOPClassUID,
                image.SOPInstanceUID,
            )
            referred.ContourImageSequence.append(reference)
        study.RTReferencedSeriesSequence = Items([referred])
        frame.RTReferencedStudySequence = Items([study])
        roi, made = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIDescription = 1, "Brainstem", comment
        made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", uid("rtstruct", job)
        made.ReferencedFrameOfReferenceSequence, made.StructureSetROISequence = Items([frame]), Items([roi])
        made.ensure_file_meta()
        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        self.layout.result(job).mkdir()
        made.save_as(self.layout.result(job) / "RTSTRUCT.dcm", enforce_file_format=True)


@pytest.fixture
def clinic(tmp_path: Path, ledger: Engine) -> Iterator[Clinic]:
    clinic = Clinic(tmp_path, ledger)
    yield clinic
    clinic.engine.dispose()


def uids(images: Sequence[Dataset]) -> set[str]:
    return {str(image.SOPInstanceUID) for image in images}


def test_a_ledger_that_knows_all_is_left_as_it_is(clinic: Clinic) -> None:
    clinic.room.put(clinic.images)
    clinic.compare()
    assert clinic.alarms() == []
    assert clinic.findings() == []
    assert clinic.series().state is SeriesState.OPEN


def test_images_that_the_ledger_does_not_know_open_their_series_again_and_stop_its_jobs(clinic: Clinic) -> None:
    """A job of the first slices waited at the backup: it must not be contoured from them, nor sent after the whole."""
    clinic.room.put(clinic.images[:17])
    clinic.room.pass_time(10)
    (waiting,) = clinic.series().jobs
    assert waiting.state is JobState.QUEUED
    clinic.save()
    clinic.room.put(clinic.images[17:])
    clinic.put_back()
    assert clinic.kept() == uids(clinic.images[:17])
    assert len(clinic.findings()) == len(clinic.images) - 17, "doctor finds each of them, young as they are"
    clinic.compare()
    assert clinic.kept() == uids(clinic.images)
    assert clinic.series().state is SeriesState.OPEN
    (held,) = clinic.series().jobs
    assert (held.state, held.releasable) == (JobState.HELD, True)
    (alarm,) = clinic.alarms()
    assert f"{len(clinic.images) - 17} images that it did not know are entered, series 1 are open again" in alarm
    assert clinic.findings() == []


def test_a_series_whose_transfer_may_have_broken_off_is_not_taken_for_whole(clinic: Clinic) -> None:
    """How it ended is lost with the newer ledger. It is whole when it is sent again."""
    clinic.save()
    clinic.room.put(clinic.images[:15], Ending.ABORTED)
    clinic.put_back()
    clinic.compare()
    clinic.room.pass_time(3000)
    assert clinic.room.states(clinic.images) == []
    clinic.room.put(clinic.images)
    clinic.room.pass_time(10)
    (job,) = clinic.series().jobs
    assert job.state is JobState.QUEUED


def test_a_series_of_which_a_structure_set_was_made_is_contoured_again_by_itself(clinic: Clinic) -> None:
    clinic.room.put(clinic.images[:17], Ending.OPEN)
    clinic.save()
    clinic.room.put(clinic.images[17:])
    clinic.contoured(1, clinic.images)
    clinic.put_back()
    clinic.compare()
    clinic.room.pass_time(10)
    (job,) = clinic.series().jobs
    assert (job.state, clinic.series().state) == (JobState.QUEUED, SeriesState.COMPLETE)
    assert not clinic.layout.result(1).exists(), "its number is used again"
    (aside,) = clinic.layout.quarantine.glob("results-*/1/RTSTRUCT.dcm")
    assert aside.is_file()


@pytest.mark.parametrize("what", ["of fewer images", "released by a person"])
def test_a_structure_set_that_proves_nothing_lets_the_series_wait(clinic: Clinic, what: str) -> None:
    clinic.save()
    clinic.room.put(clinic.images)
    if what == "of fewer images":
        clinic.contoured(1, clinic.images[:-1])
    else:
        clinic.contoured(1, clinic.images, 'REVIEW vvc=0.1 entropy=0.1 reason="released by a person: broke off"')
    clinic.put_back()
    clinic.compare()
    clinic.room.pass_time(1000)
    assert clinic.room.states(clinic.images) == []


def other(image: Dataset) -> Dataset:
    again = copy.deepcopy(image)
    again.ImagePositionPatient = [0, 0, 500]
    return again


def contradict(clinic: Clinic) -> None:
    """The second image under one UID, which the receiver puts into quarantine."""
    with writing(clinic.engine) as session:
        sender = Sender("PACS", "127.0.0.1")
        arrival = clinic.room.stored(other(clinic.images[0]), sender)
        path = clinic.layout.directory / arrival.path
        folder = clinic.layout.quarantine / path.parent.name
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
        values = vars(arrival) | {"path": clinic.layout.relative(folder / path.name)}
        receive(session, type(arrival)(**values))


@pytest.mark.parametrize("known", [True, False], ids=["the first is known", "nothing is known"])
def test_a_contradiction_that_the_ledger_has_forgotten_holds_the_series_again(clinic: Clinic, known: bool) -> None:
    if not known:
        clinic.save()
    clinic.room.put(clinic.images)
    if known:
        clinic.save()
    contradict(clinic)
    assert clinic.series().releasable is False
    clinic.put_back()
    clinic.compare()
    found = clinic.series()
    assert (found.state, found.releasable) == (SeriesState.HELD, False)
    clinic.room.put(clinic.images)
    clinic.room.pass_time(1000)
    assert [job.state for job in clinic.series().jobs] in ([], [JobState.HELD])


def test_a_quarantined_copy_whose_first_is_gone_holds_its_series(clinic: Clinic) -> None:
    clinic.save()
    clinic.room.put(clinic.images[:1])
    contradict(clinic)
    clinic.put_back()
    for path in clinic.layout.series.rglob("*.dcm"):
        path.unlink()
    clinic.compare()
    assert (clinic.series().state, clinic.series().releasable) == (SeriesState.HELD, False)


def test_what_a_person_may_not_have_seen_is_told_with_every_restore(clinic: Clinic) -> None:
    """The mark of the command alone suffices: decisions since the backup are lost, even if no image is."""
    clinic.layout.restored.write_text('{"source": "/backup/rtseg-20260101T000000.db"}')
    assert clinic.findings() == [("restored", "restored.json")]
    clinic.compare()
    assert not clinic.layout.restored.exists()
    (alarm,) = clinic.alarms()
    assert alarm.startswith("the ledger was restored from rtseg-20260101T000000.db: 0 images")
    clinic.compare()
    assert len(clinic.alarms()) == 1


def test_the_mark_stays_until_all_is_compared(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic.save()
    clinic.room.put(clinic.images)
    clinic.put_back()
    clinic.layout.restored.write_text("broken")

    def fail(*_: object) -> None:
        raise OSError("the disk")

    monkeypatch.setattr(compared, "tell", fail)
    with pytest.raises(OSError, match="the disk"):
        clinic.compare()
    assert clinic.layout.restored.exists()


def test_what_retention_was_deleting_when_it_was_interrupted_is_deleted_and_not_entered(clinic: Clinic) -> None:
    clinic.room.put(clinic.images[:3])
    with writing(clinic.engine) as session:
        for one in session.query(Instance):
            one.state, one.received_at = InstanceState.REMOVED, time.time()
        move_series(session, 1, SeriesState.UNROUTED, what="left alone")
        move_series(session, 1, SeriesState.REMOVED, what="removed by retention")
    clinic.compare()
    assert not list(clinic.layout.series.rglob("*.dcm"))
    assert clinic.kept() == set()
    assert clinic.series().state is SeriesState.REMOVED


def test_what_came_again_after_retention_had_removed_it_is_entered(clinic: Clinic) -> None:
    clinic.room.put(clinic.images[:3])
    with writing(clinic.engine) as session:
        for one in session.query(Instance):
            one.state, one.received_at = InstanceState.REMOVED, time.time() - 7200
    clinic.compare()
    assert clinic.kept() == uids(clinic.images[:3])


def test_files_that_are_damaged_or_no_images_are_left_for_doctor(clinic: Clinic) -> None:
    folder = clinic.layout.series / "2026-01-31"
    folder.mkdir()
    (folder / f"{'0' * 64}.dcm").write_bytes(b"\0" * 128 + b"DICM and nothing more")
    (folder / f"{'1' * 64}.dcm").write_bytes(b"")
    clinic.room.put(clinic.images[:1])
    (whole,) = (path for path in clinic.layout.series.rglob("*.dcm") if path.parent != folder)
    shutil.copy(whole, folder / f"{'2' * 64}.dcm")
    clinic.compare()
    assert clinic.kept() == uids(clinic.images[:1])
    assert len(list(folder.iterdir())) == 3
    assert clinic.alarms() == []


def test_a_second_copy_mends_a_kept_file_that_is_lost(clinic: Clinic) -> None:
    clinic.room.put(clinic.images[:1])
    (path,) = clinic.layout.series.rglob("*.dcm")
    later = clinic.layout.series / "2099-01-31"
    later.mkdir()
    path.rename(later / path.name)
    assert [kind for kind, _ in clinic.findings()] == ["instance", "unknown"]
    clinic.compare()
    assert clinic.findings() == []


def test_series_that_are_found_take_the_name_of_who_sends_them_again(clinic: Clinic) -> None:
    """A route may ask for the calling AE."""
    clinic.save()
    clinic.room.put(clinic.images)
    clinic.put_back()
    clinic.compare()
    assert clinic.series().calling_ae == ""
    clinic.room.put(clinic.images[:1])
    assert (clinic.series().calling_ae, clinic.series().calling_host) == ("PACS", "127.0.0.1")


def test_associations_that_were_open_at_the_backup_have_died_before_what_is_found(clinic: Clinic) -> None:
    clinic.room.put(clinic.images[:17], Ending.OPEN)
    clinic.save()
    clinic.room.put(clinic.images[17:])
    clinic.contoured(1, clinic.images)
    clinic.put_back()
    clinic.compare()
    with reading(clinic.engine) as session:
        first, second = associations_of(session, 1)
        assert (first.ending, second.ending) == (Ending.DIED, Ending.RELEASED)
        assert first.ended_at is not None
        assert first.ended_at <= second.opened_at


def test_a_job_held_for_what_was_found_gives_way_to_the_newer_one(clinic: Clinic) -> None:
    clinic.room.put(clinic.images[:17])
    clinic.room.pass_time(10)
    clinic.save()
    clinic.room.put(clinic.images[17:])
    clinic.contoured(2, clinic.images)
    clinic.put_back()
    clinic.compare()
    clinic.room.pass_time(10)
    old, new = clinic.series().jobs
    assert (old.state, new.state) == (JobState.CANCELLED, JobState.QUEUED)
    with reading(clinic.engine) as session:
        assert session.get_one(Job, new.id).last_instance_id == len(clinic.images)
    with writing(clinic.engine) as session, pytest.raises(Exception, match="only a HELD job"):
        decisions.release(session, old.id, "anna", "looked", [])


def test_doctor_repairs_nothing_that_a_start_takes_up(clinic: Clinic) -> None:
    clinic.save()
    clinic.room.put(clinic.images[:2])
    clinic.contoured(1, clinic.images[:2])
    clinic.put_back()
    for path in [*clinic.layout.series.rglob("*.dcm"), clinic.layout.result(1)]:
        os.utime(path, (1e9, 1e9))
    found = doctor.examine(clinic.engine, clinic.room.config, repair=True)
    assert [(one.kind, one.repaired) for one in found] == [("unknown", False)] * 3
    assert len(list(clinic.layout.series.rglob("*.dcm"))) == 2
    assert clinic.layout.result(1).is_dir()


def test_a_delivered_job_is_not_touched_by_what_is_found(clinic: Clinic) -> None:
    clinic.room.put(clinic.images[:17])
    clinic.room.pass_time(10)
    with writing(clinic.engine) as session:
        jobs.claim_job(session, "w")
        outcome = jobs.Outcome("d", [], rtstruct_path="results/1/RTSTRUCT.dcm", rtstruct_sha256="x")
        jobs.finish_segmentation(session, Lease(1, "w", 1), outcome, [])
        session.get_one(Job, 1).state = JobState.DELIVERED
    clinic.save()
    clinic.room.put(clinic.images[17:])
    clinic.put_back()
    clinic.compare()
    assert clinic.room.states(clinic.images) == [JobState.DELIVERED]
    assert clinic.series().state is SeriesState.OPEN
