"""Jobs that were put off: they wait longer each time, stand behind those that were here, and write little."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger import jobs, orphans
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.leases import lease_of
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.series import last_instance_id
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import OUTCOME, arrival

START = 1_000_000.0
AWAY = "host north does not answer"


def new_job(ledger: Engine, number: int, **options: object) -> int:
    with writing(ledger) as session:
        series = receive(session, arrival(number, series_instance_uid=f"1.3.{number}", host="north")).series_id
        last = last_instance_id(session, series)
        return jobs.create_job(session, series, last, "tiny", "all", **options).id  # type: ignore[arg-type]


def claim(ledger: Engine, at: float, owner: str = "worker-0@south/1-a") -> Job | None:
    with writing(ledger) as session:
        return jobs.claim_job(session, owner, at=at)


def put_off(ledger: Engine, job: Job, at: float) -> None:
    with writing(ledger) as session:
        jobs.put_off(session, lease_of(job), AWAY, at=at)


def attempts(ledger: Engine, seconds: float, every: float = 1.0) -> list[float]:
    """When one of two workers claims a job and puts it off again, in seconds from now on."""
    tried = []
    for turn in range(int(seconds / every)):
        at = START + turn * every
        for worker in ("worker-0@south/1-a", "worker-0@east/1-b"):
            job = claim(ledger, at, worker)
            if job is not None:
                put_off(ledger, job, at)
                tried.append(at - START)
    return tried


def test_the_pauses_grow_to_minutes_for_all_workers_together(ledger: Engine) -> None:
    job_id = new_job(ledger, 1)
    tried = attempts(ledger, 1200.0, 5.0)
    assert tried == [0.0, 15.0, 45.0, 105.0, 225.0, 465.0, 765.0, 1065.0]
    with reading(ledger) as session:
        job = session.get_one(Job, job_id)
        assert (job.state, job.attempts, job.error) == ("QUEUED", 0, AWAY), "free of charge"
        told = [event.what for event in events_of(session, "job", job_id)]
    assert told == ["created", "claimed", "put off", *["claimed"] * (len(tried) - 1)]


def test_after_a_success_the_next_pause_is_short_again(ledger: Engine) -> None:
    job_id = new_job(ledger, 1)
    attempts(ledger, 100.0, 5.0)
    job = claim(ledger, START + 1000)
    assert job is not None
    with writing(ledger) as session:
        jobs.finish_segmentation(session, lease_of(job), OUTCOME, [])
    with reading(ledger) as session:
        job = session.get_one(Job, job_id)
        assert (job.put_offs, job.not_before, job.behind) == (0, None, 0)


def test_a_job_that_was_put_off_stands_behind_those_that_were_here_and_before_those_that_came_since(
    ledger: Engine,
) -> None:
    first, second = new_job(ledger, 1), new_job(ledger, 2)
    job = claim(ledger, START)
    assert job is not None
    put_off(ledger, job, START)
    third = new_job(ledger, 3)
    taken = [claim(ledger, START + 20) for _ in range(4)]
    assert [job.id if job else None for job in taken] == [second, first, third, None]


def test_a_job_in_its_pause_is_nobody_that_waits(ledger: Engine) -> None:
    """A shadow's job would make way for it again and again."""
    job_id = new_job(ledger, 1)
    with writing(ledger) as session:
        job = jobs.claim_job(session, "w")
        assert job is not None
        jobs.put_off(session, lease_of(job), AWAY)
    with reading(ledger) as session:
        assert not jobs.somebody_waits(session)
        assert jobs.next_waiting(session) is None
    shadow = new_job(ledger, 2, shadow=True)
    with writing(ledger) as session:
        claimed = jobs.claim_job(session, "w")
        assert claimed is not None
        assert claimed.id == shadow
        session.get_one(Job, job_id).not_before = 0.0
        session.flush()
        assert jobs.somebody_waits(session)


def test_a_clock_that_was_set_back_makes_nobody_wait_for_years(ledger: Engine) -> None:
    new_job(ledger, 1)
    job = claim(ledger, START + 1e8)
    assert job is not None
    put_off(ledger, job, START + 1e8)
    assert claim(ledger, START) is not None


@pytest.mark.parametrize("lost", [False, True])
def test_a_worker_that_dies_in_the_next_attempt_changes_no_pause(ledger: Engine, lost: bool) -> None:
    new_job(ledger, 1)
    attempts(ledger, 20.0, 5.0)
    job = claim(ledger, START + 100)
    assert job is not None
    if lost:
        with writing(ledger) as session:
            orphans.worker_lost(session, "worker-0@south", "died", 3)
        job = claim(ledger, START + 100)
        assert job is not None
    put_off(ledger, job, START + 100)
    assert claim(ledger, START + 159) is None
    assert claim(ledger, START + 161) is not None


def test_a_result_is_at_home_where_the_last_image_is_by_now(ledger: Engine) -> None:
    """Another host may have taken it over from one that was lost."""
    job_id = new_job(ledger, 1)
    with writing(ledger) as session:
        assert session.get_one(Job, job_id).host == "north"
        session.query(Instance).update({"host": "south"})
    job = claim(ledger, START)
    assert job is not None
    assert job.host == "south"
