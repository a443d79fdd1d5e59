"""What a host gives to others and takes from them: its own files alone, and results under a claim that holds."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.cluster.holdings import LedgerHoldings
from rtseg_daemon.errors import LeaseLost, StorageError
from rtseg_daemon.ledger import jobs, orphans
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.leases import Lease, lease_of
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import InstanceState
from rtseg_daemon.storage import Layout
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

HOST = "north"


@pytest.fixture
def holdings(ledger: Engine, tmp_path: Path) -> LedgerHoldings:
    layout = Layout(tmp_path / "storage", HOST)
    layout.create()
    return LedgerHoldings(ledger, layout, HOST)


def queued(ledger: Engine, host: str) -> int:
    with writing(ledger) as session:
        series = receive(session, arrival(1, host=host)).series_id
        return jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all").id


def claimed(ledger: Engine, owner: str) -> Lease:
    with writing(ledger) as session:
        job = jobs.claim_job(session, owner)
        assert job is not None
        return lease_of(job)


def test_a_job_is_at_home_where_the_last_image_of_its_series_came(ledger: Engine) -> None:
    job_id = queued(ledger, "south")
    with reading(ledger) as session:
        assert session.get_one(Job, job_id).host == "south"


def test_an_image_is_given_by_the_host_that_has_it_and_by_no_other(holdings: LedgerHoldings) -> None:
    with writing(holdings.engine) as session:
        receive(session, arrival(1, host=HOST))
        receive(session, arrival(2, host="south"))
        ids = {one.host: one.id for one in session.query(Instance)}
        path = session.get_one(Instance, ids[HOST]).path
    assert holdings.find("image", ids[HOST]) == holdings.layout.directory / path
    assert holdings.find("image", ids["south"]) is None
    assert holdings.find("image", 99) is None
    assert holdings.find("anything", ids[HOST]) is None
    with writing(holdings.engine) as session:
        session.get_one(Instance, ids[HOST]).state = InstanceState.REMOVED
    assert holdings.find("image", ids[HOST]) is None


def test_a_result_is_kept_under_the_claim_that_holds(holdings: LedgerHoldings) -> None:
    job_id = queued(holdings.engine, HOST)
    lease = claimed(holdings.engine, "worker-0@south/1-a")
    part = holdings.part(4)
    part.write_bytes(b"RTST")
    holdings.keep(job_id, lease.token, "RTSTRUCT.dcm", part)
    assert (holdings.layout.result(job_id) / "RTSTRUCT.dcm").read_bytes() == b"RTST"
    assert not part.exists()


def test_a_worker_that_was_thought_dead_cannot_overwrite_the_result_of_the_next(holdings: LedgerHoldings) -> None:
    job_id = queued(holdings.engine, HOST)
    first = claimed(holdings.engine, "worker-0@south/1-a")
    with writing(holdings.engine) as session:
        orphans.worker_lost(session, first.owner, "heard of no more", 3)
    second = claimed(holdings.engine, "worker-0@east/1-b")
    for lease, content in ((second, b"new"), (first, b"old")):
        part = holdings.part(3)
        part.write_bytes(content)
        if lease is first:
            with pytest.raises(LeaseLost, match=f"job {job_id} is no longer leased under claim {first.token}"):
                holdings.keep(job_id, lease.token, "RTSTRUCT.dcm", part)
        else:
            holdings.keep(job_id, lease.token, "RTSTRUCT.dcm", part)
    assert (holdings.layout.result(job_id) / "RTSTRUCT.dcm").read_bytes() == b"new"


def test_a_job_that_was_cancelled_takes_no_result(holdings: LedgerHoldings) -> None:
    job_id = queued(holdings.engine, HOST)
    lease = claimed(holdings.engine, "worker-0@south/1-a")
    with writing(holdings.engine) as session:
        jobs.cancel(session, job_id, "anna")
    part = holdings.part(3)
    part.write_bytes(b"new")
    with pytest.raises(LeaseLost):
        holdings.keep(job_id, lease.token, "RTSTRUCT.dcm", part)


def test_a_full_disk_says_how_much_is_lacking(holdings: LedgerHoldings) -> None:
    with pytest.raises(StorageError, match=r"the disk of storage\.directory has .* GB free, a result needs"):
        holdings.part(10**15)
