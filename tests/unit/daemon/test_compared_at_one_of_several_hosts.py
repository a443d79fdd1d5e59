"""A host that starts and finds files that the ledger does not know leaves alone what belongs to other hosts."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import Engine

from rtseg_daemon.daemon.compared import compare_storage
from rtseg_daemon.ledger import associations
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import IncomingAssociation, Instance
from rtseg_daemon.ledger.states import Ending
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.storage import Layout
from tests.arrivals import receive
from tests.faults.conftest import series
from tests.room import Room, two_hosts
from tests.unit.ledger.conftest import ledger_kind  # noqa: F401 - a fixture: both databases


@pytest.fixture
def room(tmp_path: Path, ledger: Engine) -> Room:
    two_hosts(ledger, "north", "south", address="apart:1")
    return Room(tmp_path, ledger)


def north(room: Room) -> Layout:
    return replace(room.store.layout, host="north")


def stray(room: Room, image: Dataset) -> str:
    """A file of the storage that the ledger does not know, as a process leaves one that is killed. Returns its path."""
    with writing(room.engine):
        return room.stored(image, Sender("PACS", "127.0.0.1")).path


def open_at(room: Room, host: str) -> int:
    with writing(room.engine) as session:
        return associations.open_association(session, "PACS", "127.0.0.1", host=host)


def test_what_others_receive_now_goes_on(room: Room) -> None:
    before, theirs = open_at(room, "north"), open_at(room, "south")
    stray(room, series("a")[0])
    compare_storage(room.engine, north(room))
    with reading(room.engine) as session:
        endings = {one.id: (one.host, one.ending) for one in session.query(IncomingAssociation)}
    assert (endings.pop(theirs), endings.pop(before)) == (("south", Ending.OPEN), ("north", Ending.DIED))
    assert {host for host, _ in endings.values()} == {"north"}, "what stands for the senders of what was found"


@pytest.mark.parametrize(("keeper", "moves"), [("south", False), ("north", True)])
def test_a_file_that_another_host_keeps_is_not_looked_for_here(room: Room, keeper: str, moves: bool) -> None:
    """The same image was sent to another host a day later. That its file is not here says nothing."""
    image = series("a")[0]
    found = stray(room, image)
    with writing(room.engine) as session:
        later = room.stored(image, Sender("PACS", "127.0.0.1"))
        kept = f"series/2099-01-31/{Path(later.path).name}"
        receive(session, replace(later, path=kept, host=keeper))
    compare_storage(room.engine, north(room))
    with reading(room.engine) as session:
        assert session.query(Instance).one().path == (found if moves else kept)
