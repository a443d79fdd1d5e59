"""Retention, backup, doctor and the chores' scheduler."""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.daemon.children import Child
from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.associations import resume_listening
from rtseg_daemon.ledger.deliveries import begin_delivery, record_sent
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.migrate import require_current
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Alarm, Delivery, Job, Series
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep import doctor, retention
from rtseg_daemon.upkeep.backup import back_up, prune
from rtseg_daemon.upkeep.chores import Chore, Housekeeper, Upkeep, listens
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

DAY = 86400.0
OLD = 1000.0
NOW = OLD + 30 * DAY


def no_receiver() -> None:
    """The process id of a receiver that is not there."""


def stored_series(ledger: Engine, layout: Layout, number: int = 1) -> int:
    """A COMPLETE series of one slice whose file exists; returns its number."""
    content = f"slice {number}".encode()
    path = layout.series / f"d{number}" / "a.dcm"
    path.parent.mkdir()
    path.write_bytes(content)
    one = arrival(
        number,
        path=layout.relative(path),
        series_instance_uid=f"1.3.{number}",
        received_at=OLD,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with writing(ledger) as session:
        series = receive(session, one).series_id
        move_series(session, series, SeriesState.COMPLETE, what="complete", at=OLD)
    return series


def stored_job(ledger: Engine, layout: Layout, series: int) -> int:
    """A SEGMENTED job with a stored result."""
    with writing(ledger) as session:
        job = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all", at=OLD)
        jobs.claim_job(session, "w", at=OLD)
        layout.result(job.id).mkdir()
        (layout.result(job.id) / "RTSTRUCT.dcm").write_bytes(b"result")
        outcome = jobs.Outcome(
            "d",
            [],
            rtstruct_path=f"results/{job.id}/RTSTRUCT.dcm",
            rtstruct_sha256=hashlib.sha256(b"result").hexdigest(),
        )
        jobs.finish_segmentation(session, Lease(job.id, "w", 1), outcome, ["tps"], at=OLD)
        return job.id


def unfinished_job(ledger: Engine, layout: Layout) -> int:
    """A job that waits for a worker."""
    series = stored_series(ledger, layout)
    with writing(ledger) as session:
        return jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all", at=OLD).id


def deliver(ledger: Engine, job_id: int) -> None:
    with writing(ledger) as session:
        delivery = session.query(Delivery).filter_by(job_id=job_id).one()
        begin_delivery(session, delivery.id, at=OLD)
        record_sent(session, delivery.id, 0, "stored", at=OLD)


def remove_old(ledger: Engine, layout: Layout, now: float = NOW) -> int:
    """Retention on a clock that it has seen run."""
    retention.clock_trusted(ledger, now - 60)
    with writing(ledger) as session:
        session.execute(retention.Setting.__table__.delete().where(retention.Setting.key == retention.PAUSE_KEY))
    return retention.remove_old(ledger, layout, 14 * DAY, now)


# --- retention -------------------------------------------------------------------------------------------------------


def test_what_is_delivered_and_old_goes_and_its_rows_stay(ledger: Engine, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    job = stored_job(ledger, layout, series)
    deliver(ledger, job)
    assert remove_old(ledger, layout) == 1
    assert not list(layout.series.iterdir())
    assert not layout.result(job).exists()
    with reading(ledger) as session:
        assert session.get_one(Series, series).state is SeriesState.REMOVED
        assert session.get_one(Job, job).state is JobState.DELIVERED


@pytest.mark.parametrize("state", ["SEGMENTED", "DELIVERING", "HELD", "FAILED", "QUEUED"])
def test_what_is_not_delivered_or_held_or_failed_is_never_deleted(ledger: Engine, layout: Layout, state: str) -> None:
    series = stored_series(ledger, layout)
    job = stored_job(ledger, layout, series)
    with writing(ledger) as session:
        session.get_one(Job, job).state = JobState(state)
    assert remove_old(ledger, layout, NOW + 1000 * DAY) == 0
    assert (layout.series / "d1" / "a.dcm").is_file()
    assert (layout.result(job) / "RTSTRUCT.dcm").is_file()


def test_a_held_series_and_an_open_one_stay(ledger: Engine, layout: Layout) -> None:
    for number, state in ((1, SeriesState.HELD), (2, SeriesState.OPEN)):
        series = stored_series(ledger, layout, number)
        with writing(ledger) as session:
            session.get_one(Series, series).state = state
    assert remove_old(ledger, layout) == 0


def test_a_held_series_goes_once_its_jobs_are_at_their_end(ledger: Engine, layout: Layout) -> None:
    for number, releasable in ((1, True), (2, False)):
        series = stored_series(ledger, layout, number)
        deliver(ledger, stored_job(ledger, layout, series))
        with writing(ledger) as session:
            row = session.get_one(Series, series)
            row.state, row.releasable = SeriesState.HELD, releasable
    assert remove_old(ledger, layout) == 1


def test_a_series_that_no_route_takes_goes_when_it_is_old(ledger: Engine, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    with writing(ledger) as session:
        session.get_one(Series, series).state = SeriesState.UNROUTED
    assert remove_old(ledger, layout, OLD + 13 * DAY) == 0
    assert remove_old(ledger, layout, OLD + 15 * DAY) == 1


def test_a_clock_that_leaps_deletes_nothing_for_a_day(ledger: Engine, layout: Layout) -> None:
    deliver(ledger, stored_job(ledger, layout, stored_series(ledger, layout)))
    keep = 14 * DAY
    assert retention.remove_old(ledger, layout, keep, OLD + DAY) == 0
    leap = OLD + 400 * DAY
    assert retention.remove_old(ledger, layout, keep, leap) == 0
    assert retention.remove_old(ledger, layout, keep, leap + 3600) == 0
    with reading(ledger) as session:
        assert [alarm.kind for alarm in session.query(Alarm)] == ["clock"]
    assert retention.remove_old(ledger, layout, keep, leap + DAY + 1) == 1


def test_a_removed_series_that_is_sent_again_is_new(ledger: Engine, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    deliver(ledger, stored_job(ledger, layout, series))
    remove_old(ledger, layout)
    with writing(ledger) as session:
        again = receive(session, arrival(1, series_instance_uid="1.3.1", received_at=NOW))
        assert (again.repeat, again.series_id) == ("NEW", series)
        assert session.get_one(Series, series).state is SeriesState.OPEN


# --- backup and restore ----------------------------------------------------------------------------------------------


def test_a_backup_taken_while_others_write_is_whole_and_can_be_restored(
    ledger: Engine, layout: Layout, tmp_path: Path
) -> None:
    series = stored_series(ledger, layout)
    stop = threading.Event()

    def write() -> None:
        engine = open_ledger(str(ledger.url))
        number = 0
        while not stop.is_set():
            number += 1
            with writing(engine) as session:
                raise_alarm(session, "test", f"key{number}", "x")
        engine.dispose()

    writer = threading.Thread(target=write)
    writer.start()
    copies = [back_up(tmp_path / "rtseg.db", layout.backup) for _ in range(3)]
    stop.set()
    writer.join()
    assert len(set(copies)) == 3
    restored = tmp_path / "restored.db"
    shutil.copy(copies[-1], restored)
    engine = open_ledger(f"sqlite:///{restored}")
    require_current(engine)
    with reading(engine) as session:
        assert session.get_one(Series, series).series_instance_uid == "1.3.1"
    engine.dispose()
    assert oct(copies[0].stat().st_mode & 0o777) == "0o600"


def test_only_the_newest_backups_are_kept_and_those_before_a_migration_always(layout: Layout) -> None:
    for day in range(1, 6):
        (layout.backup / f"rtseg-2026010{day}T000000.db").touch()
    (layout.backup / "rtseg-before-migration-20250101T000000.db").touch()
    prune(layout.backup, keep=2)
    assert sorted(path.name for path in layout.backup.iterdir()) == [
        "rtseg-20260104T000000.db",
        "rtseg-20260105T000000.db",
        "rtseg-before-migration-20250101T000000.db",
    ]


def test_a_backup_from_the_future_makes_no_new_one_go(layout: Layout) -> None:
    for year in (2031, 2032, 2099):
        (layout.backup / f"rtseg-{year}0101T000000.db").touch()
    for hour in range(1, 6):
        (layout.backup / f"rtseg-20260101T0{hour}0000.db").touch()
        prune(layout.backup, keep=3, now=1767225600.0 + 3600 * hour)
        assert (layout.backup / f"rtseg-20260101T0{hour}0000.db").exists()
    assert sorted(path.name for path in layout.backup.iterdir()) == [
        f"rtseg-20260101T0{hour}0000.db" for hour in (3, 4, 5)
    ]


def test_a_database_that_is_none_is_not_backed_up(layout: Layout, tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerError, match=r"broken\.db cannot be copied"):
        back_up(broken, layout.backup)
    assert not list(layout.backup.iterdir())


# --- doctor ----------------------------------------------------------------------------------------------------------


def age(path: Path) -> None:
    os.utime(path, (OLD, OLD))


def test_a_healthy_storage_has_no_findings(ledger: Engine, config: Config, layout: Layout) -> None:
    stored_job(ledger, layout, stored_series(ledger, layout))
    assert doctor.examine(ledger, config, repair=False) == []


def test_what_is_missing_or_altered_is_named_with_what_to_do(ledger: Engine, config: Config, layout: Layout) -> None:
    job = stored_job(ledger, layout, stored_series(ledger, layout, 1))
    stored_series(ledger, layout, 2)
    (layout.series / "d1" / "a.dcm").unlink()
    (layout.series / "d2" / "a.dcm").write_bytes(b"other")
    (layout.result(job) / "RTSTRUCT.dcm").write_bytes(b"other")
    found = {(f.kind, f.subject): f.message for f in doctor.examine(ledger, config, repair=True)}
    assert "is missing; have the series sent again" in found["instance", "instance 1"]
    assert "was altered" in found["instance", "instance 2"]
    assert f"jobs rerun {job}" in found["result", f"job {job}"]


def test_repair_moves_orphans_away_and_deletes_what_was_never_finished(
    ledger: Engine, config: Config, layout: Layout
) -> None:
    orphan, unfinished = layout.series / "orphan.dcm", layout.incoming / "half.part"
    forgotten, young = layout.result(unfinished_job(ledger, layout)), layout.series / "young.dcm"
    forgotten.mkdir()
    for path in (orphan, unfinished, young):
        path.write_bytes(b"x")
    for path in (orphan, unfinished, forgotten):
        age(path)
    assert {f.kind for f in doctor.examine(ledger, config, repair=False)} == {"orphan", "unfinished", "young"}
    assert orphan.exists()
    assert all(f.repaired for f in doctor.examine(ledger, config, repair=True) if f.kind != "young")
    assert {f.kind for f in doctor.examine(ledger, config, repair=False)} == {"young"}
    assert [path.name for path in layout.quarantine.iterdir()] == ["orphan-orphan.dcm"]
    assert young.exists(), "it may be on its way into the ledger"


def test_files_younger_than_an_hour_are_reported_as_such_and_not_as_orphans(
    ledger: Engine, config: Config, layout: Layout
) -> None:
    for name in ("a", "b"):
        (layout.series / f"{name}.dcm").write_bytes(b"x")
    (layout.incoming / "half.part").write_bytes(b"x")
    layout.result(unfinished_job(ledger, layout)).mkdir()
    found = {(f.subject, f.message) for f in doctor.examine(ledger, config, repair=True) if f.kind == "young"}
    assert found == {
        ("series", "2 here are not in the ledger and younger than an hour; look again in an hour"),
        ("results", "1 here is of no finished job and younger than an hour; look again in an hour"),
        ("incoming", "1 here is not finished and younger than an hour; look again in an hour"),
    }
    assert {f.kind for f in doctor.examine(ledger, config, repair=True)} == {"young"}


def test_jobs_for_research_are_no_findings_after_retention(ledger: Engine, config: Config, layout: Layout) -> None:
    series = stored_series(ledger, layout)
    first = stored_job(ledger, layout, series)
    deliver(ledger, first)
    with writing(ledger) as session:
        look = decisions.rerun(session, first, "anna", no_send=True, at=OLD)
        jobs.claim_job(session, "w", at=OLD)
        made = jobs.Outcome("d", [], rtstruct_path=f"results/{look.id}/RTSTRUCT.dcm", rtstruct_sha256="x")
        jobs.finish_segmentation(session, Lease(look.id, "w", 1), made, [], at=OLD)
    assert [f.subject for f in doctor.examine(ledger, config, repair=False)] == [f"job {look.id}"], "to be looked at"
    assert remove_old(ledger, layout) == 1
    assert doctor.examine(ledger, config, repair=False) == []


def test_too_little_space_is_a_finding(ledger: Engine, config: Config, layout: Layout) -> None:
    storage = config.storage.model_copy(update={"minimum_free_gb": 1e9})
    found = doctor.examine(ledger, config.model_copy(update={"storage": storage}), repair=True)
    assert [(f.kind, f.repaired) for f in found] == [("disk", False)]


# --- chores ----------------------------------------------------------------------------------------------------------


def test_a_chore_that_breaks_stops_no_other_and_is_tried_again(ledger: Engine, config: Config, layout: Layout) -> None:
    done: list[str] = []

    def broken(_house: Upkeep) -> None:
        done.append("broken")
        raise ValueError("as ever")

    chores = (Chore("broken", 0.05, broken), Chore("good", 0.05, lambda _house: done.append("good")))
    keeper = Housekeeper(Upkeep(config, layout, ledger, no_receiver), chores)
    keeper.start()
    deadline = time.monotonic() + 10
    while min(done.count("broken"), done.count("good")) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    keeper.stop(5)
    assert min(done.count("broken"), done.count("good")) >= 3
    assert not any(hand.is_alive() for hand in keeper.hands)


def test_the_receiver_listens_once_it_has_said_so_and_until_it_dies(
    ledger: Engine, config: Config, layout: Layout
) -> None:
    receiver = Child("receiver", "none", (), lock=-1)
    upkeep = Upkeep(config, layout, ledger, lambda: receiver.pid)
    assert not listens(upkeep), "not started"
    with writing(ledger) as session:
        resume_listening(session, pid=1)
    receiver.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not listens(upkeep), "another receiver listened, before a restart"
    with writing(ledger) as session:
        resume_listening(session, pid=receiver.process.pid)
    assert listens(upkeep)
    receiver.process.kill()
    receiver.process.communicate()
    assert not listens(upkeep), "dead, and perhaps not yet buried"
    receiver.note_end()
    assert not listens(upkeep)


def test_the_integrity_check_reports_a_broken_page(tmp_path: Path, ledger: Engine, config: Config) -> None:
    with writing(ledger) as session:
        for number in range(500):
            raise_alarm(session, "test", f"{number}", "x" * 200)
    ledger.dispose()
    with sqlite3.connect(tmp_path / "rtseg.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray((tmp_path / "rtseg.db").read_bytes())
    page = len(content) // 4096 // 2 * 4096
    content[page : page + 200] = b"\xff" * 200
    (tmp_path / "rtseg.db").write_bytes(content)
    assert any(f.kind == "ledger" for f in doctor.ledger_integrity(open_ledger(str(ledger.url))))
