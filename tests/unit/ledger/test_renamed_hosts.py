"""Whose everything is when a host has another name than before, had none, or has a copy of another one's storage."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger import associations, hosts, jobs, supervision
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.hosts import SHARED
from rtseg_daemon.ledger.returned import Came, enter
from rtseg_daemon.ledger.schema import Event, IncomingAssociation, Instance, Job
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import JobState
from tests.arrivals import receive
from tests.unit.ledger.test_hosts import silence, states
from tests.unit.ledger.test_jobs import arrival


def everything(_path: str) -> bool:
    return True


def nothing(_path: str) -> bool:
    return False


def start(
    ledger: Engine,
    name: str,
    storage: str = "s1",
    address: str | None = None,
    holds: Callable[[str], bool] = everything,
) -> None:
    with writing(ledger) as session:
        where = f"{name}:11443" if address is None else address
        hosts.register(session, name, storage=storage, version="1.0", address=where, holds=holds)


def stop(ledger: Engine, name: str) -> None:
    with writing(ledger) as session:
        hosts.leave(session, name)


def at_work(ledger: Engine, host: str) -> None:
    """A host has received a series, is at its job, and receives another one; a structure set came back."""
    with writing(ledger) as session:
        association = associations.open_association(session, "PACS", "127.0.0.1", host=host)
        series = receive(session, arrival(1, host=host, association_id=association)).series_id
        jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
        assert jobs.claim_job(session, f"worker-0@{host or 'north'}/1-a")
        enter(session, Came("1.2", "0" * 64, "returned/x.dcm", 1, "TPS", "1", "store", host))
        supervision.note_process(session, "worker-0", 1, "running", 0, host=host)


def owners(ledger: Engine) -> list[str]:
    """Whose the image, the job, the association and the returned set are."""
    with reading(ledger) as session:
        tables = (Instance, Job, IncomingAssociation, ReturnedSet)
        return [session.query(table).one().host for table in tables]


def test_a_machine_that_was_renamed_goes_on_with_all_that_it_had(ledger: Engine) -> None:
    start(ledger, "ct-a")
    start(ledger, "south", "s2")
    at_work(ledger, "ct-a")
    with writing(ledger) as session:
        hosts.set_draining(session, "ct-a", True, who="anna", why="another name")
    stop(ledger, "ct-a")
    start(ledger, "ct-b")
    assert owners(ledger) == ["ct-b"] * 4
    assert states(ledger) == {"ct-b": "draining", "south": "up"}
    with reading(ledger) as session:
        assert (session.query(Job).one().state, session.query(Job).one().attempts) == (JobState.QUEUED, 0)
        assert supervision.processes(session, "ct-a") == []
        told = [event.detail for event in session.query(Event).filter_by(what="host renamed")]
        assert told == [{"from": "ct-a", "to": "ct-b"}]
        assert events_of(session, "job", 1)[-1].what == "daemon restarted"


def test_what_is_of_other_hosts_stays_theirs_when_one_is_renamed(ledger: Engine) -> None:
    start(ledger, "ct-a")
    start(ledger, "south", "s2")
    at_work(ledger, "south")
    stop(ledger, "ct-a")
    start(ledger, "ct-b")
    assert owners(ledger) == ["south"] * 4
    with reading(ledger) as session:
        assert session.query(Job).one().state is JobState.RUNNING


@pytest.mark.parametrize("address", ["", None], ids=["without cluster.tls", "with cluster.tls"])
def test_a_copy_of_a_storage_under_another_name_is_refused_while_the_first_lives(
    ledger: Engine, address: str | None
) -> None:
    start(ledger, "ct-a", address=address)
    with pytest.raises(LedgerError, match=r"host ct-a has this storage directory too \(seen \d+ s ago\).*storage-id"):
        start(ledger, "ct-b", address=address)
    with pytest.raises(LedgerError, match=r"set storage\.shared on both"):
        start(ledger, "ct-b", address=SHARED)
    silence(ledger, "ct-a", 61)
    start(ledger, "ct-b", address=address)
    assert states(ledger) == {"ct-b": "up"}


def test_a_copy_of_a_storage_that_lacks_what_came_since_inherits_nothing(ledger: Engine) -> None:
    start(ledger, "ct-a")
    at_work(ledger, "ct-a")
    stop(ledger, "ct-a")
    with pytest.raises(LedgerError, match=r"ct-a had this storage.* newest image is not here.*drain ct-a --forget"):
        start(ledger, "ct-b", holds=nothing)
    assert owners(ledger) == ["ct-a"] * 4
    start(ledger, "ct-a")
    assert states(ledger) == {"ct-a": "up"}


def test_hosts_that_share_a_storage_are_no_copies_and_one_has_what_was_a_forgotten_ones(ledger: Engine) -> None:
    for name in ("north", "south", "east"):
        start(ledger, name, address=SHARED)
    at_work(ledger, "north")
    for name in ("north", "east"):
        stop(ledger, name)
    start(ledger, "west", address=SHARED)
    silence(ledger, "west", 5)
    assert owners(ledger) == ["north"] * 4, "it may come back"
    with writing(ledger) as session:
        hosts.forget(session, "north", who="anna", why="sold")
    assert owners(ledger) == ["south"] * 4, "the one that was seen last"


def test_a_host_of_a_storage_of_its_own_leaves_its_rows_when_it_is_forgotten(ledger: Engine) -> None:
    start(ledger, "north")
    start(ledger, "south", "s2")
    at_work(ledger, "north")
    stop(ledger, "north")
    with writing(ledger) as session:
        hosts.forget(session, "north", who="anna", why="its disk broke")
    assert owners(ledger) == ["north"] * 4


def test_what_came_before_hosts_had_names_is_that_hosts_which_has_the_files_whichever_starts_first(
    ledger: Engine,
) -> None:
    start(ledger, "north", address="")
    at_work(ledger, "")
    stop(ledger, "north")
    start(ledger, "south", "s2", holds=nothing)
    assert owners(ledger) == [""] * 4
    start(ledger, "north")
    assert owners(ledger) == ["north"] * 4
    with writing(ledger) as session:
        receive(session, arrival(2))
    start(ledger, "north")
    with reading(ledger) as session:
        assert [one.host for one in session.query(Instance).order_by(Instance.id)] == ["north", ""], "once is enough"


def test_a_host_that_gives_its_files_to_nobody_any_more_goes_on_with_what_it_had(ledger: Engine) -> None:
    start(ledger, "north")
    at_work(ledger, "north")
    start(ledger, "north", address="")
    assert owners(ledger) == [""] * 4
    with writing(ledger) as session:
        session.get_one(Host, "north").seen_at = 0.0
    start(ledger, "ct-north", address="")
    assert owners(ledger) == [""] * 4
    start(ledger, "ct-north")
    assert owners(ledger) == ["ct-north"] * 4
