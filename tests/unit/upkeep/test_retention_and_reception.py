"""Retention deletes while an image is sent again the same day: what was acknowledged is on the disk afterwards."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Instance, Series
from rtseg_daemon.ledger.states import InstanceState, SeriesState
from rtseg_daemon.upkeep import retention
from tests.faults.conftest import series
from tests.room import Room

NOW = 1e9 + 3 * 3600
KEEP = 3600.0


@pytest.fixture
def room(tmp_path: Path, ledger: Engine) -> Room:
    return Room(tmp_path, ledger)


def delivered(room: Room, images: Sequence[Dataset]) -> None:
    """A series that is complete, old, and needed by nobody."""
    room.put(list(images))
    with writing(room.engine) as session:
        found = session.query(Series).one()
        if found.state is SeriesState.OPEN:
            move_series(session, found.id, SeriesState.UNROUTED, what="left alone", at=1e9)


def missing(room: Room) -> list[str]:
    """Files that the ledger says are kept, and that are not there; nobody writes meanwhile."""
    with writing(room.engine) as session:
        kept = session.query(Instance.path).filter_by(state=InstanceState.KEPT)
        return [path for (path,) in kept if not (room.store.layout.directory / path).is_file()]


def remove_old(room: Room) -> int:
    retention.clock_trusted(room.engine, NOW - 60)
    return retention.remove_old(room.engine, room.store.layout, KEEP, NOW)


def test_an_image_sent_again_between_the_ledgers_word_and_the_deleting_is_on_the_disk(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = series("a")[:3]
    delivered(room, images)
    delete = retention.delete_files

    def late(*arguments: object) -> None:
        room.put(images)
        delete(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "delete_files", late)
    assert remove_old(room) == 1
    assert missing(room) == []
    with reading(room.engine) as session:
        states = [one.state for one in session.query(Instance)]
    assert states.count(InstanceState.KEPT) == 3


def test_what_was_not_sent_again_is_deleted(room: Room) -> None:
    images = series("a")[:3]
    delivered(room, images)
    assert remove_old(room) == 1
    assert not list(room.store.layout.series.iterdir())


def test_reception_and_retention_side_by_side_lose_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    images, delete = series("a")[:3], retention.delete_files

    def slowly(*arguments: object) -> None:
        time.sleep(0.05)
        delete(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "delete_files", slowly)
    stop = threading.Event()

    def remove_again_and_again() -> None:
        while not stop.is_set():
            remove_old(room)

    remover = threading.Thread(target=remove_again_and_again)
    remover.start()
    try:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            delivered(room, images)
            time.sleep(0.06)  # SQLite is not fair to those who wait for its lock
            assert missing(room) == []
    finally:
        stop.set()
        remover.join()
    with reading(room.engine) as session:
        removed = session.query(Instance).filter_by(state=InstanceState.REMOVED).count()
    assert removed > 3, "retention never had its turn"
