"""What waits for a person: in which order, and who is among them."""

import itertools

from sqlalchemy import Engine

from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.series import hold_series
from rtseg_daemon.ledger.urgency import Need, Waiting, waiting_jobs, waiting_series, worst_first
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival, new_job


def waits(need: Need, since: float = 100.0, job: int = 1, *, late: bool = False, overtaken: bool = False) -> Waiting:
    return Waiting(need, 1, "P", since, "why", job_id=job, late=late, overtaken=overtaken)


ORDER = [
    waits(Need.DOUBT, 900.0, 1),
    waits(Need.FAILED, 300.0, 2, late=True),
    waits(Need.FAILED, 200.0, 3),
    waits(Need.FAILED, 200.0, 4),
    waits(Need.HELD, 100.0, 5),
    waits(Need.HELD, 150.0, 6),
    waits(Need.LATE, 50.0, 7, late=True),
    waits(Need.REJECT, 10.0, 8),
    waits(Need.FAILED, 1.0, 9, overtaken=True),
]
"""Worst first, as a person should look at them."""


def test_the_worst_comes_first_however_the_ledger_gives_them() -> None:
    for shuffled in itertools.islice(itertools.permutations(ORDER), 0, None, 997):
        assert worst_first(shuffled) == ORDER


def needs(ledger: Engine, late: frozenset[int] = frozenset()) -> list[tuple[Need, int | None, str]]:
    with reading(ledger) as session:
        found = worst_first([*waiting_jobs(session, late, 0.0), *waiting_series(session, late)])
    return [(one.need, one.job_id, one.reason) for one in found]


def test_a_held_job_waits_with_its_reason_and_one_in_doubt_before_all(ledger: Engine) -> None:
    job_id = new_job(ledger)
    assert needs(ledger) == []
    with writing(ledger) as session:
        jobs.hold(session, job_id, "feet first")
    assert needs(ledger) == [(Need.HELD, job_id, "feet first")]
    with writing(ledger) as session:
        session.get_one(Series, 1).releasable = False
    assert needs(ledger)[0][0] is Need.DOUBT


def test_a_failed_job_that_was_run_again_comes_last(ledger: Engine) -> None:
    first = new_job(ledger)
    with writing(ledger) as session:
        jobs.fail(session, first, "broke")
        again = decisions.rerun(session, first, "anna").id
        jobs.hold(session, again, "feet first")
    assert [job for _, job, _ in needs(ledger)] == [again, first]


def test_rejected_organs_wait_until_somebody_has_looked(ledger: Engine) -> None:
    job_id = new_job(ledger)
    with writing(ledger) as session:
        jobs.claim_job(session, "w")
        outcome = jobs.Outcome("d", [], flags={"Larynx": "REJECT", "Brainstem": "OK"})
        jobs.finish_segmentation(session, Lease(job_id, "w", 1), outcome, [])
    assert needs(ledger) == [(Need.REJECT, job_id, "Larynx was rejected")]
    with writing(ledger) as session:
        jobs.record_event(session, "job", job_id, "reviewed", who="anna")
    assert needs(ledger) == []


def test_a_late_job_says_where_it_stands_and_a_look_without_sending_is_never_late(ledger: Engine) -> None:
    job_id = new_job(ledger)
    assert needs(ledger, frozenset({1})) == [(Need.LATE, job_id, "QUEUED")]
    with writing(ledger) as session:
        session.get_one(Job, job_id).no_send = True
    with reading(ledger) as session:
        assert not any(one.late for one in waiting_jobs(session, frozenset({1}), 0.0))


def test_a_held_series_without_a_job_waits_too(ledger: Engine) -> None:
    with writing(ledger) as session:
        series = receive(session, arrival()).series_id
        hold_series(session, series, ["2 slices are missing"])
    assert needs(ledger) == [(Need.HELD, None, "2 slices are missing")]
