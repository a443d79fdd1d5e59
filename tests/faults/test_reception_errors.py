"""An error at every system call of reception and at its commit, and a disk that is full at every size."""

import errno
import hashlib
import os
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from rtseg_daemon.dicom.dimse import decode_command
from rtseg_daemon.dicom.wire import PeerLimits
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.refusals import refused_images
from rtseg_daemon.ledger.schema import IncomingAssociation, Instance, Series
from rtseg_daemon.ledger.states import Ending, InstanceState
from rtseg_daemon.receive import intake
from rtseg_daemon.receive import store as store_module
from rtseg_daemon.receive.group_commit import GroupCommit
from rtseg_daemon.receive.intake import Intake
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.store import ObjectStore
from rtseg_daemon.storage import Layout
from tests.faults.conftest import Ward, series
from tests.receiver import command_set, encoded
from tests.world import wait_for

CT = "1.2.840.10008.5.1.4.1.1.2"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
EXPLICIT = "1.2.840.10008.1.2.1"


class Saboteur:
    """Counts calls to whatever it wraps, and fails the one it was told to, with an error of its kind."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail_at = -1
        self.commits_to_fail = 0
        self.number = errno.ENOSPC

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            self.strike(name)
            return function(*args, **options)

        return called

    def strike(self, name: str) -> None:
        self.calls.append(name)
        if name == "commit" and self.commits_to_fail:
            self.commits_to_fail -= 1
            raise OperationalError(name, {}, sqlite3.OperationalError("database is locked"))
        if len(self.calls) - 1 == self.fail_at:
            if name in ("statement", "commit"):
                raise OperationalError(name, {}, sqlite3.OperationalError("database or disk is full"))
            raise OSError(self.number, os.strerror(self.number))

    def expect(self, at: int) -> None:
        self.calls, self.fail_at = [], at


class Desk:
    """The taking part of the receiver, in this process, with the saboteur under it."""

    def __init__(self, folder: Path, ledger: Engine, saboteur: Saboteur) -> None:
        self.store = ObjectStore(Layout(folder / "storage"))
        self.ledger = ledger
        self.saboteur = saboteur
        self.commits = GroupCommit(ledger, self.store.sync)
        self.commits.start()
        self.intake = Intake(self.store, self.commits, PeerLimits(), minimum_free_gb=0)

    def take(self, sender: Sender, image: Dataset) -> int:
        command = decode_command(command_set(1, CT, str(image.SOPInstanceUID)))
        data = [memoryview(encoded(image))]
        return self.intake.take(sender, command, CT, EXPLICIT, data).code

    def holds(self, image: Dataset) -> bool:
        """Whether the object is in the ledger, with its file and that file's digest."""
        with reading(self.ledger) as session:
            kept = session.query(Instance).filter_by(
                sop_instance_uid=str(image.SOPInstanceUID), state=InstanceState.KEPT
            )
            row = kept.one_or_none()
        if row is None:
            return False
        content = (self.store.layout.directory / row.path).read_bytes()
        return hashlib.sha256(content).hexdigest() == row.sha256

    def ending(self, sender: Sender) -> Ending:
        with reading(self.ledger) as session:
            return session.get_one(IncomingAssociation, sender.association_id).ending

    def tidy(self) -> bool:
        """No file that the ledger does not know."""
        with reading(self.ledger) as session:
            known = {self.store.layout.directory / path for (path,) in session.query(Instance.path)}
        found = {path for name in ("incoming", "series", "quarantine")
                 for path in (self.store.layout.directory / name).rglob("*") if path.is_file()}  # fmt: skip
        return found <= known


@pytest.fixture
def desk(tmp_path: Path, ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    saboteur = Saboteur()
    for name in ("open", "write", "fsync"):
        monkeypatch.setattr(store_module.os, name, saboteur.wrap(name, getattr(os, name)))
    for name in ("rename", "mkdir"):
        monkeypatch.setattr(Path, name, saboteur.wrap(name, getattr(Path, name)))
    event.listen(ledger, "before_cursor_execute", lambda *_: saboteur.strike("statement"))
    event.listen(ledger, "commit", lambda _: saboteur.strike("commit"))
    desk = Desk(tmp_path, ledger, saboteur)
    with capture_logs():
        yield desk
    saboteur.fail_at = -1
    desk.commits.stop()


@pytest.mark.parametrize("earlier", [0, 2])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_call_refuses_the_object_and_the_next_try_succeeds(
    desk: Desk, earlier: int, number: int
) -> None:
    """Every call of one C-STORE fails once: as the first object of its association, and as an ordinary one."""
    desk.saboteur.number = number
    at, struck, failed = 0, set(), True
    while failed:
        images, sender = series(f"{earlier} {number} {at}", 3), Sender("PACS", "127.0.0.1")
        for image in images[:earlier]:
            assert desk.take(sender, image) == 0
        desk.saboteur.expect(at)
        status = desk.take(sender, images[earlier])
        failed = at < len(desk.saboteur.calls)
        struck.add(desk.saboteur.calls[min(at, len(desk.saboteur.calls) - 1)])
        desk.saboteur.expect(-1)
        assert status == (0xA700 if failed else 0)
        assert desk.holds(images[earlier]) == (not failed)
        assert desk.tidy()
        assert desk.take(sender, images[earlier]) == 0
        assert desk.holds(images[earlier])
        at += 1
    assert struck >= {"open", "write", "fsync", "rename", "statement", "commit"}


def at_once(desk: Desk, image: Dataset, at: int) -> list[int]:
    """The statuses of two associations that bring the same object for the same transaction; call `at` of it fails."""
    gate, statuses = threading.Event(), []
    takers = [
        threading.Thread(target=lambda: statuses.append(desk.take(Sender("PACS", "127.0.0.1"), image))) for _ in "ab"
    ]
    blocker = threading.Thread(target=desk.commits.submit, args=[lambda _: gate.wait(10)])
    blocker.start()
    wait_for(lambda: desk.commits._entries.empty(), 5, pause=0.005)
    for taker in takers:
        taker.start()
    wait_for(lambda: desk.commits._entries.qsize() == 2, 5, pause=0.005)
    desk.saboteur.expect(at)
    gate.set()
    for thread in (blocker, *takers):
        thread.join(10)
    return statuses


def test_two_associations_that_bring_the_same_object_at_once_lose_it_by_no_error(desk: Desk) -> None:
    at, failed = 0, True
    while failed:
        image = series(f"both {at}", 1)[0]
        statuses = at_once(desk, image, at)
        failed = at < len(desk.saboteur.calls)
        desk.saboteur.expect(-1)
        assert len(statuses) == 2
        assert desk.holds(image) == (0 in statuses)
        assert desk.tidy()
        at += 1
    assert at > 5, "the calls of one transaction"


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_two_associations_that_bring_the_same_object_at_once_lose_it_by_no_failing_commit(
    desk: Desk, commits: int
) -> None:
    """Their files have one name: the second has it when the first, which was refused, is thrown away."""
    image = series(f"both {commits}", 1)[0]
    desk.saboteur.commits_to_fail = commits
    statuses = at_once(desk, image, -1)
    assert sorted(statuses) == {1: [0, 0], 2: [0, 0xA700], 3: [0xA700, 0xA700]}[commits]
    assert desk.holds(image) == (0 in statuses)
    assert desk.tidy()


def test_a_duplicate_that_the_ledger_refuses_costs_the_kept_object_nothing(desk: Desk) -> None:
    at, failed = 0, True
    while failed:
        image = series(f"twice {at}", 1)[0]
        assert desk.take(Sender("PACS", "127.0.0.1"), image) == 0
        desk.saboteur.expect(at)
        desk.take(Sender("PACS", "127.0.0.1"), image)
        failed = at < len(desk.saboteur.calls)
        desk.saboteur.expect(-1)
        assert desk.holds(image)
        assert desk.tidy()
        at += 1
    assert at > 5, "the calls of one duplicate"


@pytest.mark.parametrize("ending", [Ending.RELEASED, Ending.ABORTED])
def test_an_end_that_could_not_be_noted_is_noted_as_an_abort_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, ending: Ending
) -> None:
    """Every call of an association's end fails once. An end that is forgotten would make a partial series complete."""
    monkeypatch.setattr(intake, "OWED_SECONDS", 0.05)
    at, failed = 0, True
    while failed:
        images, sender = series(f"{ending} {at}", 2), Sender("PACS", "127.0.0.1")
        for image in images:
            assert desk.take(sender, image) == 0
        desk.saboteur.expect(at)
        noted = desk.intake.end(sender, ending)
        failed = at < len(desk.saboteur.calls)
        desk.saboteur.expect(-1)
        assert noted != failed
        wanted = Ending.ABORTED if failed else ending
        wait_for(lambda sender=sender, wanted=wanted: desk.ending(sender) is wanted, 5, pause=0.02)
        at += 1
    assert at > 2, "the calls of one end"


def test_a_full_disk_breaks_no_transfer_that_brought_its_image_in_the_end(desk: Desk) -> None:
    """The ledger knows which image is missing, so the association need not count as broken off."""
    first, second = series("full", 2)
    sender = Sender("PACS", "127.0.0.1")
    assert desk.take(sender, first) == 0
    desk.intake.minimum_free_gb = 1e9
    assert desk.take(sender, second) == 0xA700
    report = decode_command(command_set(1, RTSTRUCT, "1.2.3"))
    assert desk.intake.take(sender, report, RTSTRUCT, EXPLICIT, [memoryview(b"")]).code == 0, "it is not kept anyway"
    with reading(desk.ledger) as session:
        assert refused_images(session, session.query(Series).one()) == 1
    desk.intake.minimum_free_gb = 0
    assert desk.take(sender, second) == 0
    assert desk.intake.end(sender, Ending.RELEASED)
    assert desk.ending(sender) is Ending.RELEASED
    with reading(desk.ledger) as session:
        assert refused_images(session, session.query(Series).one()) == 0


def test_more_refusals_than_can_be_remembered_break_the_transfer_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_REFUSED", 1)
    images, sender = series("many", 3), Sender("PACS", "127.0.0.1")
    assert desk.take(sender, images[0]) == 0
    for image in images[1:]:
        desk.saboteur.commits_to_fail = 10
        assert desk.take(sender, image) == 0xA700
    desk.saboteur.commits_to_fail = 0
    assert desk.intake.end(sender, Ending.RELEASED)
    assert desk.ending(sender) is Ending.ABORTED


@pytest.mark.parametrize("points", [25, pytest.param(100, marks=pytest.mark.faults)])
def test_a_disk_that_is_full_at_any_size_costs_no_object_and_no_restart(ward: Ward, points: int) -> None:
    """The receiver's files may grow to a size that differs each time; it then gets room again."""
    pid = ward.receiver.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    refused = 0
    for point in range(points):
        image = series(f"point {points} {point}")[0]
        image.PixelData, image.Rows, image.Columns = bytes(2 * 256 * 256), 256, 256
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (point * 140_000 // points, before[1]))
        try:
            status = ward.send([image])[0]
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert status in (0, 0xA700)
        refused += status != 0
        assert ward.receiver.has(image.SOPInstanceUID) == (status == 0)
        assert not ward.receiver.unfinished()
        assert ward.send([image]) == [0]
    assert refused >= points // 2
    assert ward.receiver.rows("pragma integrity_check") == [("ok",)]
