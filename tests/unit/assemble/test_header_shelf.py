"""A series whose headers take long to read makes nobody else wait, and still becomes a job."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.assemble import header_shelf
from rtseg_daemon.assemble import sweep as sweeping
from rtseg_daemon.assemble.header_shelf import BUDGET_SECONDS, HeaderShelf
from rtseg_daemon.ct.headers import SliceHeader, read_header
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.ledger.states import JobState
from tests.faults.conftest import series
from tests.room import Room


class Slow:
    """Reads headers in a time that the test sets, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.seconds, self.passed = seconds, 0.0
        self.read: list[Path] = []
        monkeypatch.setattr(header_shelf, "read_header", self)

    def __call__(self, path: Path) -> SliceHeader:
        self.read.append(path)
        self.passed += self.seconds
        if path.name == "broken":
            raise SeriesError("broken cannot be read as DICOM")
        return SliceHeader(path, "", "", "", "", "")


def test_a_series_of_95000_private_elements_per_slice_costs_one_sweep_a_second(
    tmp_path: Path, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its headers are read on in later sweeps; the other patient's series is a job after the first one."""
    room = Room(tmp_path, ledger)
    slow, quick = series("a"), series("b")
    room.put(slow)
    room.put(quick)
    passed = 0.0
    monkeypatch.setattr(sweeping, "SHELF", HeaderShelf(now=lambda: passed))

    def read(path: Path) -> SliceHeader:
        nonlocal passed
        header = read_header(path)
        passed += 0.4 if header.series_uid == str(slow[0].SeriesInstanceUID) else 0.0
        return header

    monkeypatch.setattr(header_shelf, "read_header", read)
    room.pass_time(10)
    assert room.states(quick) == [JobState.QUEUED]
    assert room.states(slow) == []
    assert passed <= BUDGET_SECONDS + 0.4
    sweeps = 0
    while not room.states(slow):
        before = passed
        room.look()
        sweeps += 1
        assert passed - before <= BUDGET_SECONDS + 0.4
        assert sweeps < 100
    assert room.states(slow) == [JobState.QUEUED]
    assert passed == pytest.approx(0.4 * len(slow)), "no header is read twice"


def test_no_file_is_read_twice_while_nothing_is_heard_of_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, 0.4)
    shelf, paths = HeaderShelf(now=lambda: slow.passed), [Path(f"{number}") for number in range(7)]
    assert [shelf.fill(1, 5.0, paths) for _ in range(3)] == [False, False, True]
    assert slow.read == paths
    assert [header.path for header in shelf.headers(1, paths)] == paths


def test_a_file_that_cannot_be_read_is_an_error_until_something_is_heard_of_the_series(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch, 0.0)
    shelf, paths = HeaderShelf(now=lambda: slow.passed), [Path("broken"), Path("good")]
    for _ in range(2):
        assert shelf.fill(1, 5.0, paths)
        with pytest.raises(SeriesError, match="broken cannot be read"):
            shelf.headers(1, paths)
    assert slow.read == paths
    assert shelf.fill(1, 6.0, paths)
    assert slow.read == 2 * paths, "what came may have mended the file"


def test_headers_of_series_that_are_closed_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    Slow(monkeypatch, 0.0)
    shelf = HeaderShelf()
    for number in (1, 2):
        shelf.fill(number, 5.0, [Path("a")])
    shelf.forget_all_but([2])
    assert (list(shelf.read), list(shelf.heard)) == ([2], [2])
