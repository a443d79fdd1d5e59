"""Guarded moves: what was set on a row before it moves is kept."""

from sqlalchemy import Engine

from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import last_instance_id
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival


def test_what_was_set_on_a_job_before_it_moves_is_not_lost(ledger: Engine) -> None:
    verdicts = [{"gate": "series", "verdict": "hold", "reasons": ["feet first"]}]
    with writing(ledger) as session:
        series = receive(session, arrival()).series_id
        job = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
        job.verdicts = verdicts
        jobs.hold(session, job.id, "feet first")
        assert job.verdicts == verdicts
    with reading(ledger) as session:
        assert session.get_one(Job, job.id).verdicts == verdicts
