"""A series that is received by two hosts, of which one dies, or has a clock that differs by minutes."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.assemble.look import look
from rtseg_daemon.assemble.sweep import look_at
from rtseg_daemon.ledger import associations, hosts, refusals
from rtseg_daemon.ledger.arrivals import touch
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import IncomingAssociation, Series
from rtseg_daemon.ledger.states import Ending, JobState, SeriesState
from rtseg_daemon.storage import layout_of
from rtseg_daemon.stored import OwnFiles
from tests.faults.conftest import series
from tests.room import Room, two_hosts
from tests.unit.ledger.conftest import ledger_kind  # noqa: F401 - a fixture: both databases

HOUR = 3600.0


@pytest.fixture
def room(tmp_path: Path, ledger: Engine) -> Room:
    """Two hosts with one storage, both there."""
    two_hosts(ledger, "one", "one", address=hosts.SHARED)
    return Room(tmp_path, ledger)


def pass_gap(room: Room) -> None:
    room.pass_time(room.config.series.quiet_seconds)
    room.pass_time(room.config.series.gap_wait_seconds)


def seen(room: Room, name: str, seconds_ago: float) -> None:
    with writing(room.engine) as session:
        session.get_one(Host, name).seen_at -= seconds_ago


def back(room: Room, name: str) -> None:
    with writing(room.engine) as session:
        assert associations.resume_listening(session, host=name) == 1


def test_what_a_host_had_received_when_it_died_is_not_taken_for_the_whole(room: Room) -> None:
    images = series("a")
    room.put(images[:17], Ending.OPEN, "north")
    seen(room, "north", 600)
    pass_gap(room)
    assert (room.of(images).state, room.states(images)) == (SeriesState.OPEN, [])
    back(room, "north")
    pass_gap(room)
    assert (room.of(images).state, room.states(images)) == (SeriesState.OPEN, [])
    room.pass_time(HOUR)
    assert room.of(images).state is SeriesState.HELD


def test_what_was_open_at_a_host_that_was_forgotten_is_not_taken_for_the_whole(room: Room) -> None:
    images = series("a")
    room.put(images[:17], Ending.OPEN, "north")
    seen(room, "north", 600)
    with writing(room.engine) as session:
        hosts.forget(session, "north", who="physicist", why="its disk is gone")
    pass_gap(room)
    assert (room.of(images).state, room.states(images)) == (SeriesState.OPEN, [])


def test_a_host_that_is_there_may_keep_its_association_open(room: Room) -> None:
    images = series("a")
    room.put(images, Ending.OPEN, "north")
    pass_gap(room)
    assert room.states(images) == [JobState.QUEUED]


def test_what_is_sent_to_another_host_once_the_first_is_away_counts_before_that_is_back(room: Room) -> None:
    images = series("a")
    room.put(images[:12], Ending.OPEN, "north")
    seen(room, "north", 600)
    room.put(images[10:], Ending.RELEASED, "south")
    pass_gap(room)
    assert room.states(images) == [JobState.QUEUED]


@pytest.mark.parametrize(
    ("parts", "states"),
    [
        ([slice(0, 20)], [JobState.QUEUED]),
        ([slice(0, 12), slice(12, 20)], [JobState.QUEUED]),
        ([slice(0, 20), slice(0, 3)], [JobState.QUEUED]),
        ([slice(1, 20)], []),
    ],
    ids=["whole", "in two parts", "whole, and some once more", "one image less"],
)
def test_what_was_sent_to_another_host_while_the_first_was_down_counts_if_it_was_everything(
    room: Room, parts: list[slice], states: list[JobState]
) -> None:
    """A broken transfer ends in the ledger when its host is back, so that the others seem to lie beside it."""
    images = series("a")
    room.put(images[:12], Ending.OPEN, "north")
    for part in parts:
        room.put(images[part], Ending.RELEASED, "south")
    back(room, "north")
    pass_gap(room)
    assert room.states(images) == states


def test_hosts_write_when_an_association_was_open_by_one_clock(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    if room.engine.dialect.name == "sqlite":
        pytest.skip("one machine has one clock")
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + 300)  # the database's clock stands still for nobody
    number = room.put(series("a"), host="south")
    with writing(room.engine) as session:
        refusals.note_refusal(session, number, "1.2", "1.2.3")
    with reading(room.engine) as session:
        row, refused = session.get_one(IncomingAssociation, number), session.query(refusals.Refusal).one()
        times = [row.opened_at, row.ended_at, refused.at]
    assert times == pytest.approx([right] * 3, abs=60)


@pytest.mark.parametrize("behind", [0, 300])
def test_a_refusal_by_a_host_whose_clock_is_behind_is_noticed_before_the_series_is_closed(
    room: Room, behind: int
) -> None:
    images = series("a")
    number = room.put(images[:17], host="north")
    room.look()
    room.seconds += 50
    with reading(room.engine) as session:
        found = look(session, session.query(Series).one(), room.config, room.clock)
    at = 1e9 + room.seconds - behind
    with writing(room.engine) as session:
        refusals.note_refusal(session, number, str(images[0].SeriesInstanceUID), "1.2.3.4", at=at)
    look_at(room.engine, room.config, found, 1e9 + room.seconds, OwnFiles(layout_of(room.config)))
    assert (room.of(images).state, room.states(images)) == (SeriesState.OPEN, [])


@pytest.mark.parametrize("how", ["duplicate", "touch"])
def test_what_comes_again_at_a_host_whose_clock_is_behind_begins_silence_anew(room: Room, how: str) -> None:
    images = series("a")
    room.seconds = 300.0
    number = room.put(images, host="north")
    room.look()
    room.seconds += 9
    room.look()
    later, room.seconds = room.seconds, 0.0
    if how == "duplicate":
        room.put(images[:1], host="south")
    else:
        with writing(room.engine) as session:
            touch(session, 1, number, 1e9)
    room.seconds = later
    room.look()
    room.seconds += 9
    room.look()
    assert room.states(images) == []
    room.seconds += 1
    room.look()
    assert room.states(images) == [JobState.QUEUED]
