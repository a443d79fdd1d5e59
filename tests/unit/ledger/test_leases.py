"""A job has one worker at a time, whoever was thought dead and is not."""

import time

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import LeaseLost
from rtseg_daemon.ledger import jobs, orphans, supervision
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import is_own, person
from rtseg_daemon.ledger.leases import LEASE_SECONDS, Lease, lease_of, new_owner, owner_prefix, renew
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.ledger.supervision import processes
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

OUTCOME = jobs.Outcome(bundle_digest="d", verdicts=[])
A, B = new_owner("worker-0", "ct-a"), new_owner("worker-0", "ct-b")


def queued(ledger: Engine, bundle: str = "tiny") -> int:
    with writing(ledger) as session:
        series = receive(session, arrival(1)).series_id
        return jobs.create_job(session, series, last_instance_id(session, series), bundle, "all").id


def claimed(ledger: Engine, owner: str, at: float | None = None) -> Lease:
    with writing(ledger) as session:
        job = jobs.claim_job(session, owner, at=at)
        assert job is not None
        return lease_of(job)


def state_of(ledger: Engine, job_id: int) -> tuple[JobState, int, str | None]:
    with reading(ledger) as session:
        job = session.get_one(Job, job_id)
        return job.state, job.attempts, job.lease_owner


def test_every_claim_has_a_larger_token_and_every_start_another_owner(ledger: Engine) -> None:
    queued(ledger)
    first = claimed(ledger, A)
    with writing(ledger) as session:
        orphans.worker_lost(session, A, "killed", 3)
    again = claimed(ledger, A)
    assert (first.token, again.token, first.job_id) == (1, 2, again.job_id)
    assert new_owner("worker-0", "ct-a") != A
    assert A.startswith(owner_prefix("worker-0", "ct-a", int(A.partition("/")[2].partition("-")[0])))
    assert is_own(A)
    assert is_own("worker-0-4711")
    assert person("worker-0") == "worker-0"
    assert person(A) == f"account {A}"


@pytest.mark.parametrize("write", ["heartbeat", "renew", "finish", "hold", "fail", "make way"])
def test_a_worker_that_was_thought_dead_can_write_nothing(ledger: Engine, write: str) -> None:
    job_id = queued(ledger)
    stale = claimed(ledger, A)
    with writing(ledger) as session:
        orphans.worker_lost(session, A, "killed", 3)
    claimed(ledger, A)  # the same owner, even: its token is another one
    do = {
        "heartbeat": lambda session: jobs.heartbeat(session, stale, "infer"),
        "renew": lambda session: renew(session, stale),
        "finish": lambda session: jobs.finish_segmentation(session, stale, OUTCOME, ["tps"]),
        "hold": lambda session: jobs.hold(session, job_id, "odd", lease=stale),
        "fail": lambda session: jobs.fail(session, job_id, "odd", lease=stale),
        "make way": lambda session: jobs.make_way(session, stale),
    }[write]
    with pytest.raises(LeaseLost, match=f"job {job_id} .*{A}, claim 1"), writing(ledger) as session:
        do(session)
    assert state_of(ledger, job_id) == (JobState.RUNNING, 1, A)


def test_a_lease_that_ran_out_is_taken_up_once_whoever_looks(ledger: Engine) -> None:
    job_id = queued(ledger)
    lease = claimed(ledger, A, at=1000.0)
    with writing(ledger) as session:
        assert orphans.take_up_expired(session, 3, at=1000.0 + LEASE_SECONDS - 1) == []
    with writing(ledger) as session:
        assert [job.id for job in orphans.take_up_expired(session, 3, at=1001.0 + LEASE_SECONDS)] == [job_id]
    with writing(ledger) as session:
        assert orphans.take_up_expired(session, 3, at=1001.0 + LEASE_SECONDS) == [], "another one was first"
    assert state_of(ledger, job_id) == (JobState.QUEUED, 1, None)
    other = claimed(ledger, B)
    with pytest.raises(LeaseLost), writing(ledger) as session:
        jobs.finish_segmentation(session, lease, OUTCOME, ["tps"])
    with writing(ledger) as session:
        assert jobs.finish_segmentation(session, other, OUTCOME, ["tps"]).state is JobState.SEGMENTED


def test_a_heartbeat_extends_a_lease_and_one_that_nobody_took_up_still_holds(ledger: Engine) -> None:
    job_id = queued(ledger)
    lease = claimed(ledger, A, at=1000.0)
    with writing(ledger) as session:
        jobs.heartbeat(session, lease, "infer", at=1000.0 + LEASE_SECONDS - 1)
        assert orphans.expired(session, at=1000.0 + LEASE_SECONDS + 1) == []
        assert [job.id for job in orphans.expired(session, at=1000.0 + 2 * LEASE_SECONDS)] == [job_id]
        assert jobs.finish_segmentation(session, lease, OUTCOME, []).state is JobState.SEGMENTED


def test_a_host_leaves_its_own_living_workers_to_its_own_clock(ledger: Engine) -> None:
    queued(ledger)
    claimed(ledger, A, at=1000.0)
    with reading(ledger) as session:
        assert orphans.expired(session, [A.rpartition("-")[0] + "-"]) == []
        assert len(orphans.expired(session, [B])) == 1


def test_a_job_that_costs_every_worker_fails_when_leases_run_out_too(ledger: Engine) -> None:
    job_id = queued(ledger)
    for _ in range(3):
        claimed(ledger, A, at=1000.0)
        with writing(ledger) as session:
            orphans.take_up_expired(session, 3)
    assert state_of(ledger, job_id)[:2] == (JobState.FAILED, 3)


def test_a_restart_takes_back_what_is_its_hosts_and_nothing_else(ledger: Engine) -> None:
    first, second = queued(ledger), queued(ledger, "other")
    claimed(ledger, A)
    claimed(ledger, new_owner("worker-0", "ct-a-2"))  # a name that begins alike
    with writing(ledger) as session:
        supervision.note_process(session, "worker-0", 1, "running", 0, host="ct-a")
        supervision.note_process(session, "worker-0", 1, "running", 0, host="ct-a-2")
        assert orphans.requeue_own(session, "ct-a") == 1
        supervision.forget_processes(session, "ct-a")
    assert state_of(ledger, first) == (JobState.QUEUED, 0, None)
    assert state_of(ledger, second)[0] is JobState.RUNNING
    with writing(ledger) as session:
        assert [one.host for one in processes(session)] == ["ct-a-2"]
        assert orphans.requeue_own(session, None) == 1, "a ledger in a file has no other host"
        supervision.forget_processes(session, None)
        assert processes(session) == []


def test_leases_are_timed_by_the_databases_clock(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One machine has one clock. A server has its own, and a host's may be an hour off."""
    job_id, now = queued(ledger), time.time()
    monkeypatch.setattr("rtseg_daemon.ledger.clock.time.time", lambda: now + 3600)
    claimed(ledger, A)
    with reading(ledger) as session:
        until = session.get_one(Job, job_id).lease_until
        assert orphans.expired(session) == []
    wrong = 0 if ledger.dialect.name == "postgresql" else 3600
    assert until == pytest.approx(now + wrong + LEASE_SECONDS, abs=60)
