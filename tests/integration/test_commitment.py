"""Storage commitment whose report comes on an association that the destination opens to us (PS3.4, J.3.3).

Courier and listener are the real ones, each with its own connection to one ledger; the planning system asks for the
roles of PS3.7, D.3.3.4: it proposes the association, and is the provider of the service all the same.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from sqlalchemy import Engine

from rtseg_daemon.daemon.receiver import receive
from rtseg_daemon.deliver import courier
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.schema import Alarm
from tests.deliveries import World
from tests.integration.test_orthanc import Orthanc
from tests.receiver import answers
from tests.synthetic import uid
from tests.world import Tps, free_port, wait_for

# pynetdicom leaves the socket of an association that was cut off to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ALL_COMMITTED, SOME_FAILED = 1, 2


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    """The ledger at the place where the configuration has it, so that the listener opens the same."""
    (tmp_path / "storage").mkdir(mode=0o700)
    engine = open_ledger(f"sqlite:///{tmp_path / 'storage' / 'rtseg.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()


@dataclass
class Planning:
    """The commitment side of a planning system: accepts every request, reports when it is told to."""

    requests: list[Dataset] = field(default_factory=list)

    def accept(self, event: Any) -> tuple[int, None]:
        self.requests.append(event.action_information)
        return 0x0000, None

    def report(self, failed: dict[str, int] | None = None) -> Dataset:
        """The report about the last request; `failed` names the objects refused, with their reasons."""
        report = Dataset()
        report.TransactionUID = self.requests[-1].TransactionUID
        report.ReferencedSOPSequence, report.FailedSOPSequence = [], []
        for item in self.requests[-1].ReferencedSOPSequence:
            reason = (failed or {}).get(item.ReferencedSOPInstanceUID)
            if reason is not None:
                item.FailureReason = reason
            (report.ReferencedSOPSequence if reason is None else report.FailedSOPSequence).append(item)
        for keyword in ("ReferencedSOPSequence", "FailedSOPSequence"):
            if not report[keyword].value:
                del report[keyword]
        return report


@pytest.fixture
def planning() -> Planning:
    return Planning()


@pytest.fixture
def world(ledger: Engine, tmp_path: Path, planning: Planning, monkeypatch: pytest.MonkeyPatch) -> World:
    """A structure set that has been delivered; commitment was asked for and has not been answered."""
    monkeypatch.setattr(courier, "REPORT_SECONDS", 0.1)
    tps = Tps()
    world = World(ledger, tmp_path, tps, commitment=True)
    world.job()
    with tps.running([(evt.EVT_N_ACTION, planning.accept)], [StorageCommitmentPushModel]), world.couriers():
        world.until_state("DELIVERED", seconds=30)
        wait_for(lambda: bool(planning.requests), 30)
    assert world.delivery()["state"] == "SENT"
    return world


@contextmanager
def listening(world: World) -> Iterator[int]:
    """The receiver as its process runs it; gives its port."""
    umask, interval, stop = os.umask(0o077), sys.getswitchinterval(), threading.Event()
    thread = threading.Thread(target=receive, args=(world.config, stop, lambda _works: None))
    thread.start()
    try:
        wait_for(lambda: answers(world.config.dicom.port), 30)
        yield world.config.dicom.port
    finally:
        stop.set()
        thread.join(20)
        os.umask(umask)
        sys.setswitchinterval(interval)


@contextmanager
def association(port: int, scu: bool = False, scp: bool = True) -> Iterator[Association]:
    """An association that the planning system opens, with the roles it proposes for itself."""
    peer = AE(ae_title="TPS")
    peer.add_requested_context(StorageCommitmentPushModel)
    roles = [build_role(StorageCommitmentPushModel, scu_role=scu, scp_role=scp)] if scu or scp else []
    opened = peer.associate("127.0.0.1", port, ae_title="RTSEG", ext_neg=roles)
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def bring(port: int, report: Dataset, event: int = ALL_COMMITTED) -> int:
    """Open an association, report, release; the status that the report is answered with."""
    with association(port) as opened:
        assert opened.is_established
        assert [context.as_scp for context in opened.accepted_contexts] == [True]
        answer, _ = opened.send_n_event_report(
            report, event, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        assert opened.is_established, "the report ended the association"
        return int(answer.Status)


def alarms(world: World) -> list[str]:
    with reading(world.ledger) as session:
        return [alarm.message for alarm in session.query(Alarm).filter_by(kind="commitment")]


def test_a_report_on_an_association_of_the_destinations_own_commits(world: World, planning: Planning) -> None:
    (request,) = planning.requests
    assert [item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence] == [uid("rtstruct", 1)]
    with listening(world) as port:
        assert bring(port, planning.report()) == 0x0000
        assert world.delivery()["state"] == "COMMITTED"
        assert bring(port, planning.report()) == 0x0000, "a report that is repeated"
    assert world.delivery()["state"] == "COMMITTED"
    assert alarms(world) == []


def test_a_report_after_a_restart_of_courier_and_listener_commits(world: World, planning: Planning) -> None:
    """The transaction is in the ledger; the couriers that begin anew neither send again nor ask again."""
    with listening(world):
        pass
    world.ledger.dispose()
    with world.tps.running([(evt.EVT_N_ACTION, planning.accept)], [StorageCommitmentPushModel]), world.couriers():
        with listening(world) as port:
            assert bring(port, planning.report()) == 0x0000
        world.until(lambda: world.delivery()["state"] == "COMMITTED")
    assert world.tps.attempts == 1
    assert len(planning.requests) == 1
    assert world.shape(1)["state"] == "DELIVERED"


def test_a_report_of_failed_objects_raises_an_alarm_and_is_shown(world: World, planning: Planning) -> None:
    """It stays SENT: the destination answered the C-STORE with success, and only a person can find out what is so."""
    failed = {uid("rtstruct", 1): 0x0110}
    with listening(world) as port:
        assert bring(port, planning.report(failed), SOME_FAILED) == 0x0000
        assert bring(port, planning.report(failed), SOME_FAILED) == 0x0000
    assert world.delivery()["state"] == "SENT"
    assert world.delivery()["last_comment"] == "storage commitment refused (0x0110)"
    assert alarms(world) == ["tps did not commit to 1 objects of job 1 (0x0110)"]


def test_a_failure_without_a_list_of_objects_commits_nothing(world: World, planning: Planning) -> None:
    with listening(world) as port:
        assert bring(port, planning.report(), SOME_FAILED) == 0x0000
    assert world.delivery()["state"] == "SENT"
    assert len(alarms(world)) == 1


def test_a_destination_that_commits_after_it_had_refused_is_believed(world: World, planning: Planning) -> None:
    with listening(world) as port:
        bring(port, planning.report({uid("rtstruct", 1): 0x0110}), SOME_FAILED)
        assert bring(port, planning.report()) == 0x0000
    assert world.delivery()["state"] == "COMMITTED"


@pytest.mark.parametrize("transaction", ["1.2.3.4", None])
def test_a_report_for_an_unknown_transaction_is_answered_and_harmless(
    world: World, planning: Planning, transaction: str | None
) -> None:
    """0115H is Invalid Argument Value (PS3.7, annex C.5); the next report on the same listener is taken."""
    report = planning.report()
    if transaction is None:
        del report.TransactionUID
    else:
        report.TransactionUID = transaction
    with listening(world) as port:
        assert bring(port, report) == 0x0115
        assert world.delivery()["state"] == "SENT"
        assert bring(port, planning.report()) == 0x0000
    assert world.delivery()["state"] == "COMMITTED"


@pytest.mark.parametrize("event", [0, 3])
def test_an_event_that_the_service_does_not_have_commits_nothing(world: World, planning: Planning, event: int) -> None:
    """0113H is No Such Event Type (PS3.7, annex C.5); the service has types 1 and 2 (PS3.4, table J.3-2)."""
    with listening(world) as port:
        assert bring(port, planning.report(), event) == 0x0113
    assert world.delivery()["state"] == "SENT"


def test_two_reports_on_one_association_with_a_stranger_between(world: World, planning: Planning) -> None:
    stranger = planning.report()
    stranger.TransactionUID = "1.2.3.4"
    with listening(world) as port, association(port) as opened:
        answered = [
            int(
                opened.send_n_event_report(
                    one, ALL_COMMITTED, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
                )[0].Status
            )
            for one in (stranger, planning.report())
        ]
    assert answered == [0x0115, 0x0000]
    assert world.delivery()["state"] == "COMMITTED"


@pytest.mark.parametrize(("scu", "scp", "taken"), [(False, True, True), (True, True, True), (True, False, False)])
def test_the_role_that_the_peer_takes_decides_whether_it_may_report(
    world: World, planning: Planning, scu: bool, scp: bool, taken: bool
) -> None:
    """Whoever wants to be our user would have us commit, and we keep images for days only."""
    with listening(world) as port, association(port, scu, scp) as opened:
        accepted = [(context.as_scu, context.as_scp) for context in opened.accepted_contexts]
        assert accepted == ([(False, True)] if taken else [])
    assert world.delivery()["state"] == "SENT"


def test_a_report_on_a_request_whose_answer_was_lost_commits(
    ledger: Engine, tmp_path: Path, planning: Planning
) -> None:
    """The transaction is in the ledger before the N-ACTION goes out; that its answer never came does no harm."""

    def hang_up(event: Any) -> tuple[int, None]:
        answer = planning.accept(event)
        event.assoc.abort()
        return answer

    world = World(ledger, tmp_path, Tps(), commitment=True)
    world.job()
    with world.tps.running([(evt.EVT_N_ACTION, hang_up)], [StorageCommitmentPushModel]), world.couriers():
        world.until_state("DELIVERED", seconds=30)
        wait_for(lambda: bool(planning.requests), 30)
    with listening(world) as port:
        assert bring(port, planning.report()) == 0x0000
    assert world.delivery()["state"] == "COMMITTED"
    assert world.tps.attempts == 1


@pytest.mark.peers
def test_orthanc_commits_on_an_association_of_its_own(ledger: Engine, tmp_path: Path) -> None:
    """Orthanc always reports on a new association, and proposes the roles for it."""
    own_port = free_port()
    modality = {"AET": "RTSEG", "Host": "127.0.0.1", "Port": own_port, "AllowStorageCommitment": True}
    orthanc = Orthanc(tmp_path / "orthanc", "TPS", DicomModalities={"rtseg": modality})
    world = World(ledger, tmp_path, Tps(port=orthanc.port), commitment=True)
    world.config = world.config.model_copy(update={"dicom": world.config.dicom.model_copy(update={"port": own_port})})
    world.job()
    with orthanc.running(), listening(world), world.couriers():
        world.until(lambda: world.delivery()["state"] == "COMMITTED", seconds=60)
    assert world.shape(1)["state"] == "DELIVERED"
