"""The bounded shelf: what is read once, what is dropped, and what stays of it on the disk."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rtseg_daemon.errors import NotShown
from rtseg_daemon.web.viewer import shelf as module
from rtseg_daemon.web.viewer.shelf import Shelf


class Reading:
    """A reader that counts: so many bytes of the letter it is asked for."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.count = 0
        self.paths: list[Path] = []

    def __call__(self, path: Path) -> dict[str, Any]:
        self.count += 1
        self.paths.append(path)
        path.write_bytes(b"x" * self.size)
        return {"number": self.count}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "viewer", kept_bytes=250).open()


def look(shelf: Shelf, key: str, reading: Reading) -> dict[str, Any]:
    with shelf.using(key, reading.size, reading) as thing:
        assert os.pread(thing.descriptor, 1, 0) == b"x"
        return thing.said


def test_a_thing_is_read_once_and_leaves_no_name_on_the_disk(shelf: Shelf) -> None:
    reading = Reading()
    assert [look(shelf, "a", reading)["number"] for _ in range(3)] == [1, 1, 1]
    assert list(shelf.folder.iterdir()) == []


def test_what_was_used_longest_ago_goes_first(shelf: Shelf) -> None:
    reading = Reading()
    for key in ("a", "b", "a", "c"):
        look(shelf, key, reading)
    assert shelf.bytes == 200
    look(shelf, "a", reading)
    assert reading.count == 3
    look(shelf, "b", reading)
    assert reading.count == 4


def test_what_is_dropped_while_somebody_looks_stays_readable_for_them(shelf: Shelf) -> None:
    reading = Reading()
    with shelf.using("a", 100, reading) as thing:
        shelf.close()
        assert os.pread(thing.descriptor, 1, 0) == b"x"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(thing.descriptor)


def test_what_nobody_looks_at_for_long_is_dropped(tmp_path: Path) -> None:
    now = [0.0]
    shelf = Shelf(tmp_path / "viewer", kept_seconds=600.0, now=lambda: now[0]).open()
    reading = Reading()
    look(shelf, "a", reading)
    now[0] = 599.0
    shelf.drop_old()
    assert shelf.bytes == 100
    now[0] = 601.0
    shelf.drop_old()
    assert shelf.bytes == 0


def test_what_was_read_from_files_that_have_changed_is_read_anew(shelf: Shelf) -> None:
    reading = Reading()
    for mark, count in (("one", 1), ("one", 1), ("", 1), ("two", 2), ("two", 2)):
        with shelf.using("a", 100, reading, mark):
            assert reading.count == count, mark


def test_what_is_to_be_kept_is_not_dropped_for_being_old(tmp_path: Path) -> None:
    now = [0.0]
    shelf = Shelf(tmp_path / "viewer", kept_seconds=600.0, now=lambda: now[0]).open()
    reading = Reading()
    for key in ("a", "b"):
        look(shelf, key, reading)
    now[0] = 599.0
    shelf.keep(["b", "never read"])
    now[0] = 601.0
    shelf.drop_old()
    assert (shelf.holds("a"), shelf.holds("b")) == (False, True)


def test_what_a_killed_process_left_is_deleted_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / "viewer" / "left"
    left.parent.mkdir()
    left.write_bytes(b"a patient")
    Shelf(tmp_path / "viewer").open()
    assert not left.exists()


def test_a_reader_that_fails_leaves_nothing_and_the_next_one_may_try(shelf: Shelf) -> None:
    def fail(path: Path) -> dict[str, Any]:
        path.write_bytes(b"half")
        raise NotShown("broken", 409)

    with pytest.raises(NotShown, match="broken"), shelf.using("a", 10, fail):
        pass
    assert list(shelf.folder.iterdir()) == []
    assert look(shelf, "a", Reading()) == {"number": 1}


def test_many_who_look_at_one_series_wait_for_one_reader(shelf: Shelf) -> None:
    reading = Reading()
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> dict[str, Any]:
        begun.set()
        assert go_on.wait(10)
        return reading(path)

    def look_slowly() -> None:
        with shelf.using("a", 100, slow) as thing:
            found.append(thing.said["number"])

    found: list[int] = []
    threads = [threading.Thread(target=look_slowly) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert found == [1] * 8


def test_so_many_wait_and_no_more(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty viewers at once take no thread from other pages: those beyond the bound are told to come again."""
    monkeypatch.setattr(module, "WAITING", 1)
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> dict[str, Any]:
        begun.set()
        assert go_on.wait(10)
        return Reading()(path)

    def look_slowly() -> None:
        with shelf.using("a", 100, slow):
            pass

    thread = threading.Thread(target=look_slowly)
    thread.start()
    assert begun.wait(10)
    with pytest.raises(NotShown, match="try again") as raised, shelf.using("b", 100, Reading()):
        pass
    assert raised.value.status == 503
    go_on.set()
    thread.join(10)
    assert look(shelf, "b", Reading()) == {"number": 1}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_closes_every_file(shelf: Shelf) -> None:
    before = open_files()
    look(shelf, "a", Reading())
    look(shelf, "b", Reading())
    assert open_files() == before + 2
    shelf.close()
    assert open_files() == before
    assert not shelf.folder.exists()
