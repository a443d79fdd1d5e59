"""Two people decide about one job at once."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import AlreadyDecided
from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import people, record_event
from rtseg_daemon.ledger.first import newest_event, refuse_second
from tests.unit.ledger.test_jobs import new_job


def seen(ledger: Engine) -> int:
    with reading(ledger) as session:
        return newest_event(session)


def refusal(ledger: Engine, job_id: int, as_of: int | None) -> str:
    with writing(ledger) as session, pytest.raises(AlreadyDecided) as caught:
        refuse_second(session, job_id, as_of)
    return str(caught.value)


def held_job(ledger: Engine) -> int:
    job_id = new_job(ledger)
    with writing(ledger) as session:
        jobs.hold(session, job_id, "feet first")
    return job_id


def test_the_second_of_two_is_told_who_was_first_and_why(ledger: Engine) -> None:
    job_id = held_job(ledger)
    as_of = seen(ledger)
    with writing(ledger) as session:
        refuse_second(session, job_id, as_of)
        decisions.release(session, job_id, "anna", "position checked", [], at=0.0)
    told = refusal(ledger, job_id, as_of)
    assert told == (
        f"anna was first: job {job_id} released at 1970-01-01T00:00:00.000Z (position checked); nothing was changed"
    )


def test_a_rerun_by_another_person_is_told_by_its_number(ledger: Engine) -> None:
    job_id = new_job(ledger)
    as_of = seen(ledger)
    with writing(ledger) as session:
        again = decisions.rerun(session, job_id, "anna").id
    assert f"anna ran job {job_id} again as job {again}" in refusal(ledger, job_id, as_of)


def test_what_the_daemon_does_and_who_only_looks_takes_nothing_from_anybody(ledger: Engine) -> None:
    job_id = new_job(ledger)
    as_of = seen(ledger)
    with writing(ledger) as session:
        jobs.claim_job(session, "worker-0-17")
        record_event(session, "job", job_id, "viewed", who="anna")
        record_event(session, "job", job_id + 1, "cancelled", who="anna")
    with writing(ledger) as session:
        refuse_second(session, job_id, as_of)


def test_who_did_not_look_first_is_asked_nothing(ledger: Engine) -> None:
    job_id = new_job(ledger)
    with writing(ledger) as session:
        jobs.cancel(session, job_id, "anna")
        refuse_second(session, job_id, None)


def test_the_people_of_a_ledger_are_named_once_and_without_the_daemon(ledger: Engine) -> None:
    job_id = new_job(ledger)
    with writing(ledger) as session:
        for who in ("worker-1-9", "worker-anna", "zoe", "anna", "zoe", "account daemon"):
            record_event(session, "job", job_id, "noted", who=who)
    with reading(ledger) as session:
        assert people(session) == ["account daemon", "anna", "worker-anna", "zoe"]
