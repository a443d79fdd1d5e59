"""A worker with a stub network and one series, for what tests do to its job."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import Engine, update

from rtseg_daemon.config.file import load_config
from rtseg_daemon.config.sections import Logging
from rtseg_daemon.daemon.worker import claim, desk_of
from rtseg_daemon.ledger import events, jobs, views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.logs import configure
from rtseg_daemon.storage import Layout
from rtseg_daemon.work import case, painter
from rtseg_daemon.work.job import run_job
from tests.arrivals import receive
from tests.stub import load_stub, no_picture
from tests.unit.ledger.test_jobs import arrival
from tests.world import patient, write_config


class Bench:
    """A worker with a stub network, and one series waiting for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, ledger: Engine) -> None:
        configure(Logging(), "worker-0")
        config = load_config(write_config(folder, 1, database={"url": str(ledger.url)}))
        self.ledger, self.layout = ledger, Layout(config.storage.directory)
        self.layout.create()
        monkeypatch.setattr(case, "load_segmenter", load_stub)
        monkeypatch.setattr(painter, "draw", no_picture)
        self.desk = desk_of(config, "worker-0", "cpu")
        self.files = patient(self.layout.series / "aa")
        with writing(ledger) as session:
            for number, path in enumerate(self.files):
                facts = {"sop_instance_uid": str(dcmread(path).SOPInstanceUID), "path": self.layout.relative(path)}
                facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
                series = receive(session, arrival(number, **facts)).series_id
            self.job = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all").id

    def pass_time(self) -> None:
        """Every pause of jobs that were put off is over."""
        with writing(self.ledger) as session:
            session.execute(update(Job).values(not_before=0.0))

    def run(self) -> dict[str, Any]:
        """Do the job; returns what `jobs show --json` says of it then."""
        claimed = claim(self.desk)
        assert claimed is not None
        run_job(self.desk, claimed)
        with reading(self.ledger) as session:
            return views.job_detail(views.find_job(session, self.job), self.layout.shown)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise error

    return fail


def events_of_job(bench: Bench) -> list[str]:
    with reading(bench.ledger) as session:
        return [event.what for event in events.events_of(session, "job", bench.job)]
