"""A planning system that does not send: its structure sets are asked for at a query peer. dcmtk's dcmqrscp answers."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import Engine, update

from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.query import RemoteSeries, RemoteSet
from rtseg_daemon.errors import ContextRefused
from rtseg_daemon.feedback import polling
from rtseg_daemon.feedback.polling import AGAIN_SECONDS, Poll, delivered_studies, is_wanted
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Delivery
from rtseg_daemon.ledger.states import Approval
from tests.clinic import Case, Clinic, encoded, moved
from tests.peers import Archive, storescu
from tests.receiver import Receiver, running
from tests.synthetic import uid
from tests.world import free_port

pytestmark = pytest.mark.peers


class Polled:
    """A clinic that polls an archive."""

    def __init__(self, folder: Path, ledger: Engine, archive: Archive) -> None:
        peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port}
        self.archive = archive
        self.clinic = Clinic(folder, ledger, query=[peer], feedback={"poll": True, "days": 30})
        self.poll = Poll(self.clinic.loop.desk, threading.Event())

    def export(self, dataset: Dataset) -> None:
        """The planning system puts a set into its archive."""
        path = self.clinic.folder / f"{dataset.SOPInstanceUID}.dcm"
        path.write_bytes(encoded(dataset))
        storescu(self.archive.port, [path], called="PACS")

    def turn(self) -> list[ReturnedSet]:
        """One poll and the work on what it brought; returns all sets."""
        self.poll.turn()
        self.clinic.work()
        with reading(self.clinic.ledger) as session:
            return list(session.query(ReturnedSet).order_by(ReturnedSet.id))


@pytest.fixture
def polled(tmp_path: Path, ledger: Engine) -> Iterator[Polled]:
    archive = Archive(tmp_path / "pacs", free_port())
    with archive.running():
        yield Polled(tmp_path, ledger, archive)


def test_a_set_of_a_delivered_series_is_fetched_once_and_measured(polled: Polled) -> None:
    case = polled.clinic.deliver()
    assert polled.turn() == []
    polled.export(case.edited(moved("Parotid_L", x=2.0)))
    [row] = polled.turn()
    assert (row.state, row.came_by, row.calling_ae) == ("MEASURED", "poll", "PACS")
    assert (polled.clinic.layout.directory / row.path).is_file()
    assert len(polled.turn()) == 1


def test_a_set_that_is_approved_later_is_fetched_again(polled: Polled) -> None:
    case = polled.clinic.deliver()
    drawn = case.edited(approval="UNAPPROVED")
    polled.export(drawn)
    assert [row.state for row in polled.turn()] == ["APART"]
    drawn.ApprovalStatus = "APPROVED"
    polled.export(drawn)
    polled.poll.fetched = {str(drawn.SOPInstanceUID): time.monotonic() - AGAIN_SECONDS}
    assert [row.state for row in polled.turn()] == ["APART", "MEASURED"]


def test_nothing_is_asked_about_what_was_delivered_long_ago(polled: Polled) -> None:
    case = polled.clinic.deliver()
    polled.export(case.edited())
    with writing(polled.clinic.ledger) as session:
        session.execute(update(Delivery).values(sent_at=time.time() - 31 * 86400))
        assert delivered_studies(session, time.time() - 30 * 86400) == []
    assert polled.turn() == []


def test_a_peer_that_does_not_answer_is_told_once_a_day(polled: Polled) -> None:
    polled.clinic.deliver()
    config = polled.clinic.loop.desk.config
    away = config.query[0].model_copy(update={"port": free_port()})
    polled.clinic.loop.desk = polled.poll.desk = polling.Desk(
        polled.clinic.ledger, config.model_copy(update={"query": (away,)})
    )
    polled.turn()
    polled.turn()
    [alarm] = polled.clinic.alarms()
    assert "structure sets cannot be fetched from query peer pacs" in alarm


def refused(*_arguments: object) -> Status:
    raise ContextRefused("pacs: C-GET is not accepted")


@pytest.mark.parametrize("feedback", [True, False])
def test_a_peer_without_c_get_sends_by_c_move_to_the_listener(
    tmp_path: Path, ledger: Engine, monkeypatch: pytest.MonkeyPatch, feedback: bool
) -> None:
    monkeypatch.setattr(polling, "get", refused)
    callers = [{"ae_title": "PACS", "host": "127.0.0.1", "feedback": feedback}]
    for receiver in running(tmp_path / "daemon", {"allowed_callers": callers}):
        archive = Archive(tmp_path / "pacs", receiver.port)
        with archive.running():
            polled = Polled(tmp_path, ledger, archive)
            case: Case = polled.clinic.deliver()
            polled.export(case.edited())
            polled.turn()
            came = receiver.rows("select came_by, calling_ae from returned_set")
            assert came == ([("store", "PACS")] if feedback else [])
            assert_told(polled, receiver, feedback)


def assert_told(polled: Polled, receiver: Receiver, feedback: bool) -> None:
    """This test's listener has a ledger of its own, so nothing of it is known in the one that polls."""
    [alarm] = polled.clinic.alarms()
    assert "give the AE title that it sends from `feedback: true`" in alarm
    assert ("dropped a structure set" in receiver.logged()) is not feedback


@pytest.mark.parametrize(
    ("stated", "known", "seconds", "wanted"),
    [
        ("", None, 0.0, True),
        ("UNAPPROVED", None, 0.0, True),
        ("APPROVED", Approval.APPROVED, 0.0, False),
        ("APPROVED", Approval.UNAPPROVED, 0.0, True),
        ("REJECTED", Approval.APPROVED, 0.0, True),
        ("UNAPPROVED", Approval.UNAPPROVED, 1e9, False),
        ("", Approval.APPROVED, 1e9, False),
        ("", Approval.UNAPPROVED, 60.0, False),
        ("", Approval.UNAPPROVED, AGAIN_SECONDS, True),
    ],
)
def test_what_is_new_or_may_have_changed_is_fetched(
    stated: str, known: Approval | None, seconds: float, wanted: bool
) -> None:
    remote = RemoteSet(RemoteSeries("1.2", "1.3", "", None), uid("set"), stated)
    row = None if known is None else ReturnedSet(approval=known)
    assert is_wanted(remote, row, seconds) is wanted
