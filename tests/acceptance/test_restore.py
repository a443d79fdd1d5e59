"""An older ledger is restored after a series was completed: nothing of the part that it knows is sent."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world import Daemon, Tps, patient, send, wait_for, write_config

# pynetdicom leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FIRST = 18


@pytest.fixture
def tps() -> Tps:
    return Tps()


@pytest.fixture
def daemon(tmp_path: Path, tps: Tps) -> Iterator[Daemon]:
    config = write_config(tmp_path, tps.port, series={"quiet_seconds": 2.0})
    daemon = Daemon(config, tmp_path / "daemon.log")
    yield daemon
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.stop()


def images_in(structure_set: Any) -> int:
    (frame,) = structure_set.ReferencedFrameOfReferenceSequence
    (study,) = frame.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    return len(series.ContourImageSequence)


def test_a_series_whose_newest_slices_the_restored_ledger_does_not_know_is_not_contoured_from_its_first(
    daemon: Daemon, tps: Tps, tmp_path: Path
) -> None:
    """18 of 30 at the backup, their job waiting. The worker is kept from it, as by a long queue."""
    files, backup = patient(tmp_path / "ct", slices=30), tmp_path / "older.db"
    with tps.running():
        daemon.start()
        worker = daemon.pid("worker-0")
        os.kill(worker, signal.SIGSTOP)
        assert set(send(daemon.port, files[:FIRST])) == {0x0000}
        daemon.wait_for_state("QUEUED", 60)
        made = daemon.ask("backup", "--out", str(backup))
        assert made["path"] == str(backup)
        os.kill(worker, signal.SIGCONT)
        assert set(send(daemon.port, files[FIRST:])) == {0x0000}
        wait_for(lambda: [images_in(one) for one in tps.structure_sets][-1:] == [30], 60, daemon.tail)
        refused = daemon.command("restore", str(backup))
        assert (refused.returncode, "stop it" in refused.stderr) == (1, True)
        daemon.stop()
        before = len(tps.structure_sets)

        done = daemon.ask("restore", str(backup))
        assert Path(done["set_aside"]).is_file()
        found = json.loads(daemon.command("doctor", "--json").stdout)
        assert [one["kind"] for one in found].count("unknown") >= 30 - FIRST

        daemon.start()
        wait_for(lambda: len(tps.structure_sets) > before, 90, daemon.tail)
        time.sleep(3)
    again = tps.structure_sets[before:]
    assert {images_in(one) for one in again} == {30}
    assert {one.SOPInstanceUID for one in again} == {tps.structure_sets[before - 1].SOPInstanceUID}
    states = {job["id"]: job["state"] for job in daemon.jobs()}
    assert states[1] == "CANCELLED", "the job of the first slices"
    told = [alarm["message"] for alarm in daemon.ask("alarms", "list", "--all") if alarm["kind"] == "restored"]
    assert len(told) == 1
    assert told[0].startswith(f"the ledger was restored from older.db: {30 - FIRST} images")
    assert daemon.command("doctor").returncode == 0
