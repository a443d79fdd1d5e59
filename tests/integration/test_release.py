"""A person's release, from the sweep that held a series to the worker that contours it."""

import shutil
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy import Engine

from rtseg_daemon.config.sections import Database, Logging
from rtseg_daemon.daemon.worker import claim, desk_of
from rtseg_daemon.ledger import decisions
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.logs import configure
from rtseg_daemon.work import case
from rtseg_daemon.work.job import run_job
from tests.room import Room
from tests.stub import load_stub
from tests.tiny import make_bundle
from tests.world import patient


def test_one_release_suffices_for_a_job_held_by_its_headers(
    tmp_path: Path, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(Logging(), "worker-0")
    monkeypatch.setattr(case, "load_segmenter", load_stub)
    room = Room(tmp_path, ledger)
    room.config = room.config.model_copy(update={"database": Database(url=str(ledger.url))})
    shutil.rmtree(tmp_path / "models")
    make_bundle(tmp_path / "models")
    images = [dcmread(path) for path in patient(tmp_path / "sent")]
    for image in images:
        image.PatientPosition = "HFP"
    room.put(images)
    room.pass_time(10)
    (held,) = room.of(images).jobs
    assert held.state is JobState.HELD
    assert held.verdicts[0]["verdict"] == "hold"
    with writing(ledger) as session:
        decisions.release(session, held.id, "anna", "prone on purpose", [])
    desk = desk_of(room.config, "worker-0", "cpu")
    claimed = claim(desk)
    assert claimed == held.id
    run_job(desk, claimed)
    desk.engine.dispose()
    (job,) = room.of(images).jobs
    assert job.state is JobState.SEGMENTED, job.error
