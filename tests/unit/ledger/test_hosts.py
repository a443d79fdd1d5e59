"""Hosts of one ledger: known by name and storage, seen by the database's clock, drained, forgotten."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import LedgerError, StateError
from rtseg_daemon.ledger import hosts, jobs, views
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.host_views import host_shapes
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.upkeep.doctor import hosts_away
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival


def start(ledger: Engine, name: str = "north", storage: str = "s1", address: str = "north:11443") -> None:
    with writing(ledger) as session:
        hosts.register(session, name, storage=storage, version="1.0", address=address)


def states(ledger: Engine) -> dict[str, str]:
    with reading(ledger) as session:
        return {shape["name"]: shape["state"] for shape in host_shapes(session)}


def silence(ledger: Engine, name: str, seconds: float) -> None:
    with writing(ledger) as session:
        session.get_one(Host, name).seen_at -= seconds


def test_a_host_that_starts_again_is_the_same_and_stays_drained(ledger: Engine) -> None:
    start(ledger)
    with writing(ledger) as session:
        hosts.set_draining(session, "north", True, who="anna", why="new driver")
    start(ledger)
    assert states(ledger) == {"north": "draining"}


def test_two_sites_with_one_name_are_told_apart_by_their_storage(ledger: Engine) -> None:
    start(ledger)
    with pytest.raises(LedgerError, match=r"host north works on another storage directory .*database\.host_name"):
        start(ledger, storage="s2")


def test_a_host_that_is_not_seen_for_a_minute_is_away(ledger: Engine) -> None:
    start(ledger)
    start(ledger, "south", "s2")
    silence(ledger, "south", 61)
    assert states(ledger) == {"north": "up", "south": "away"}
    with writing(ledger) as session:
        assert hosts.show(session, "south") is False
    assert states(ledger)["south"] == "up"


def test_draining_is_an_event_with_who_and_why_and_can_be_undone(ledger: Engine) -> None:
    start(ledger)
    for draining in (True, True, False):
        with writing(ledger) as session:
            hosts.set_draining(session, "north", draining, who="anna", why="new driver")
        with reading(ledger) as session:
            assert hosts.is_draining(session, "north") is draining
    with reading(ledger) as session:
        told = [(event.what, event.detail, event.who) for event in session.query(Event).order_by(Event.id)]
    detail = {"host": "north", "why": "new driver"}
    assert told == [("host drained", detail, "anna"), ("host takes jobs again", detail, "anna")]


def test_an_unknown_host_is_named_beside_those_that_are_known(ledger: Engine) -> None:
    start(ledger)
    with writing(ledger) as session, pytest.raises(StateError, match=r"there is no host 'nroth' \(known: north\)"):
        hosts.set_draining(session, "nroth", True, who="anna", why="")


def test_a_host_is_forgotten_when_it_is_gone_and_not_before(ledger: Engine) -> None:
    start(ledger)
    with writing(ledger) as session, pytest.raises(StateError, match="stop its daemon first"):
        hosts.forget(session, "north", who="anna", why="disk replaced")
    silence(ledger, "north", 61)
    with writing(ledger) as session:
        hosts.forget(session, "north", who="anna", why="disk replaced")
    start(ledger, storage="s2")
    assert states(ledger) == {"north": "up"}


def test_a_host_that_serves_no_files_is_named(ledger: Engine) -> None:
    start(ledger, address="")
    with reading(ledger) as session, pytest.raises(StateError, match=r"north serves no files to others; set cluster"):
        hosts.address_of(session, "north")


def test_hosts_that_could_not_give_each_other_files_do_not_share_a_ledger(ledger: Engine) -> None:
    start(ledger)
    with pytest.raises(LedgerError, match=r"host north works on this ledger, seen \d+ s ago.*set cluster\.tls on both"):
        start(ledger, "south", "s2", address="")
    start(ledger, "south", "s2", "south.hospital.example:11443")
    with reading(ledger) as session:
        assert hosts.address_of(session, "south") == "south.hospital.example:11443"


def test_one_that_has_ended_or_is_long_gone_stands_in_nobodys_way(ledger: Engine) -> None:
    start(ledger, address="")
    with writing(ledger) as session:
        hosts.leave(session, "north")
    start(ledger, "south", "s2", address="")
    silence(ledger, "south", 61)
    start(ledger, address="")
    assert states(ledger) == {"north": "up", "south": "away"}


def test_doctor_tells_of_a_host_that_is_gone_and_not_of_one_that_was_stopped(ledger: Engine) -> None:
    for name in ("north", "south", "east"):
        start(ledger, name, f"s-{name}", address=f"{name}:11443")
    silence(ledger, "south", 300)
    with writing(ledger) as session:
        hosts.leave(session, "east")
    (found,) = hosts_away(ledger, "north")
    assert (found.kind, found.subject) == ("host", "south")
    assert "`rtseg-daemon drain south --forget`" in found.message


def test_a_running_job_says_who_is_at_it_and_until_when(ledger: Engine) -> None:
    with writing(ledger) as session:
        series = receive(session, arrival(1, host="north")).series_id
        job = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
        before = views.job_detail(job, lambda path, _host: path)["lease"]
        jobs.claim_job(session, "worker-0@south/1-a")
        shape = views.job_detail(job, lambda path, host: f"{host}:{path}")
    assert before is None
    assert shape["host"] == "north"
    assert (shape["lease"]["owner"], shape["lease"]["claim"]) == ("worker-0@south/1-a", 1)
    assert shape["lease"]["until"] > shape["updated_at"]
