"""Delivery to planning systems that answer, refuse, hang, vanish and come back."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance
from sqlalchemy import Engine, select

from rtseg_daemon.config.file import load_config
from rtseg_daemon.deliver import courier, parcel
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger import decisions, jobs
from rtseg_daemon.ledger.deliveries import begin_delivery, retry_delivery
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Delivery, Destination, Instance, Job
from rtseg_daemon.ledger.states import InstanceState
from rtseg_daemon.rtstruct.renamed import for_destination
from tests.deliveries import World
from tests.synthetic import uid
from tests.world import Tps, patient, wait_for, write_config

# pynetdicom leaves the socket of a refused connection to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_structure_set_is_delivered_and_the_job_is_done(world: World, tps: Tps) -> None:
    world.job()
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    assert [d.SOPInstanceUID for d in tps.structure_sets] == [uid("rtstruct", 1)]
    assert world.delivery()["last_status"] == "0x0000"


def test_a_warning_is_delivered_and_shown(world: World, tps: Tps) -> None:
    tps.answer = lambda number, ds: 0xB000
    world.job()
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    assert (world.delivery()["last_status"], world.delivery()["last_comment"]) == ("0xB000", "stored with a warning")


@pytest.mark.parametrize("status", [0xA900, 0x0122, 0x0124])
def test_a_refusal_for_good_fails_at_once_with_its_status(world: World, tps: Tps, status: int) -> None:
    tps.answer = lambda number, ds: status
    world.job()
    with tps.running(), world.couriers():
        world.until_state("FAILED")
    assert tps.attempts == 1
    assert world.delivery()["last_status"] == f"0x{status:04X}"


@pytest.mark.parametrize("status", [0x0110, 0xA700, 0xC123])
def test_a_tps_that_lacks_the_ct_gets_it_again_until_it_takes_it(world: World, tps: Tps, status: int) -> None:
    tps.answer = lambda number, ds: status if number < 2 else 0x0000
    world.job()
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    assert (tps.attempts, len(tps.structure_sets)) == (3, 1)


def test_a_duplicate_answer_means_that_it_is_there(world: World, tps: Tps) -> None:
    tps.answer = lambda number, ds: 0x0111
    world.job()
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")


def test_a_tps_that_is_down_gets_everything_after_its_return(world: World, tps: Tps) -> None:
    world.job(1)
    world.job(2)
    with world.couriers():
        world.until(lambda: world.delivery(1)["attempts"] >= 1 and world.delivery(2)["attempts"] >= 1)
        assert world.shape(1)["state"] == "DELIVERING"
        assert world.delivery(1)["next_attempt_at"] is not None
        with tps.running():
            world.until_state("DELIVERED", 1)
            world.until_state("DELIVERED", 2)
    assert len(tps.structure_sets) == 2


def test_the_probe_wakes_the_queue_long_before_its_next_attempt(world: World, tps: Tps, ledger: Engine) -> None:
    slow = world.config.delivery.model_copy(update={"first_retry_seconds": 3000.0, "longest_retry_seconds": 3600.0})
    world.config = world.config.model_copy(update={"delivery": slow})
    world.job()
    with world.couriers():
        world.until(lambda: world.delivery()["attempts"] == 1 and world.delivery()["state"] == "WAITING")
        with tps.running():
            world.until_state("DELIVERED", seconds=10)


def test_a_lost_response_sends_the_same_object_again(world: World, tps: Tps) -> None:
    def abort_first(number: int, dataset: Dataset) -> int:
        if number == 0:
            tps.received.append(dataset)
            abort.set()
            time.sleep(1.5)
        return 0x0000

    abort = threading.Event()
    tps.answer = abort_first
    world.job()
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    assert tps.attempts == 2
    assert {d.SOPInstanceUID for d in tps.structure_sets} == {uid("rtstruct", 1)}


@pytest.mark.parametrize("error", [RuntimeError("aborted"), ConfigError("certificate and key do not match")])
def test_a_probe_that_breaks_ends_no_queue(
    world: World, tps: Tps, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    probes: list[int] = []

    def broken(*_arguments: Any) -> int:
        probes.append(1)
        raise error

    monkeypatch.setattr(courier, "echo", broken)
    with tps.running(), world.couriers():
        wait_for(lambda: bool(probes), 10, lambda: "no probe")
        world.job()
        world.until_state("DELIVERED")


def test_one_tps_that_hangs_delays_no_other(ledger: Engine, tmp_path: Path, tps: Tps) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = {"name": "hung", "ae_title": "HUNG", "host": "127.0.0.1", "port": silent.getsockname()[1]}
        good = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": tps.port}
        world = World(ledger, tmp_path, tps)
        world.config = load_config(write_config(tmp_path, tps.port, destinations=[hung, good]))
        for number in range(1, 6):
            world.job(number, ("hung", "tps"))
        with tps.running(), world.couriers():
            world.until(lambda: len(tps.structure_sets) == 5, seconds=8)
            assert world.shape(5)["state"] == "DELIVERING"


def test_what_was_on_the_wire_when_the_process_died_is_sent_again(world: World, tps: Tps, ledger: Engine) -> None:
    job_id = world.job()
    with writing(ledger) as session:
        begin_delivery(session, session.query(Delivery).one().id)
    assert world.shape(job_id)["state"] == "DELIVERING"
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")


def test_a_cancelled_job_is_not_sent(world: World, tps: Tps, ledger: Engine) -> None:
    world.job(1)
    with writing(ledger) as session:
        jobs.cancel(session, 1, "anna")
    world.job(2)
    with tps.running(), world.couriers():
        world.until_state("DELIVERED", 2)
    assert tps.attempts == 1


def test_a_failed_delivery_is_retried_by_hand(world: World, tps: Tps, ledger: Engine) -> None:
    tps.answer = lambda number, ds: 0xA900 if number == 0 else 0x0000
    world.job()
    with tps.running(), world.couriers():
        world.until_state("FAILED")
        with writing(ledger) as session:
            retry_delivery(session, world.delivery()["id"], "anna")
        world.until_state("DELIVERED")


def test_a_retry_by_hand_that_fails_is_not_tried_later_than_it_would_have_been(world: World, ledger: Engine) -> None:
    slow = world.config.delivery.model_copy(update={"first_retry_seconds": 100.0, "longest_retry_seconds": 3600.0})
    world.config = world.config.model_copy(update={"delivery": slow})
    world.job()
    with world.couriers():
        world.until(lambda: world.delivery()["attempts"] == 1 and world.delivery()["state"] == "WAITING")
        planned = world.delivery()["next_attempt_at"]
        for attempt in (2, 3):
            with writing(ledger) as session:
                retry_delivery(session, world.delivery()["id"], "anna")
            world.until(lambda n=attempt: world.delivery()["attempts"] == n and world.delivery()["state"] == "WAITING")
            assert world.delivery()["next_attempt_at"] <= planned


def test_the_ct_goes_first_where_images_are_wanted_and_only_once(ledger: Engine, tmp_path: Path, tps: Tps) -> None:
    world = World(ledger, tmp_path, tps, send_images=True)
    files = patient(world.layout.series / "aa", slices=4)
    tps.answer = lambda number, ds: 0x0110 if number == 4 else 0x0000
    world.job(files=[path.absolute() for path in files])
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    kinds = [str(d.Modality) for d in tps.received]
    assert kinds == ["CT"] * 4 + ["RTSTRUCT"]
    assert tps.attempts == 6


@pytest.mark.parametrize("what", ["structure set", "image"])
def test_a_file_that_was_altered_in_the_storage_is_not_sent(
    ledger: Engine, tmp_path: Path, tps: Tps, what: str
) -> None:
    world = World(ledger, tmp_path, tps, send_images=True)
    files = patient(world.layout.series / "aa", slices=4)
    job = world.job(files=[path.absolute() for path in files])
    file = files[3] if what == "image" else Path(world.shape(job)["rtstruct_path"])
    content = file.read_bytes()
    file.write_bytes(content[:-2] + bytes(b ^ 1 for b in content[-2:]))
    with tps.running(), world.couriers():
        world.until_state("FAILED")
    assert not tps.received
    assert f"{file.name} was altered" in world.delivery()["last_comment"]
    file.write_bytes(content)
    with writing(ledger) as session:
        decisions.retry(session, job, "me")
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")


def test_a_ct_of_which_retention_removed_a_part_is_not_sent(ledger: Engine, tmp_path: Path, tps: Tps) -> None:
    world = World(ledger, tmp_path, tps, send_images=True)
    job = world.job(files=[path.absolute() for path in patient(world.layout.series / "aa", slices=4)])
    with writing(ledger) as session:
        first, second, *_ = session.scalars(select(Instance).order_by(Instance.id)).all()
        first.state = second.state = InstanceState.REMOVED
        arrived = first.sop_instance_uid
    with tps.running(), world.couriers():
        world.until_state("FAILED")
    assert not tps.received
    assert f"images of job {job} were removed (2)" in world.delivery()["last_comment"]
    with writing(ledger) as session:
        (delivery,) = session.get_one(Job, job).deliveries
        delivery.images_sent = [arrived]
        decisions.retry(session, job, "me")
    with tps.running(), world.couriers():
        world.until_state("FAILED")
        assert not tps.received
        with writing(ledger) as session:
            session.scalars(select(Instance).order_by(Instance.id)).all()[1].state = InstanceState.KEPT
            decisions.retry(session, job, "me")
        world.until_state("DELIVERED")
    assert [str(d.Modality) for d in tps.received] == ["CT"] * 3 + ["RTSTRUCT"]


def test_a_disk_that_cannot_be_used_speaks_not_of_the_destination(
    world: World, tps: Tps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parcel, "for_destination", full)
    world.job()
    with tps.running(), world.couriers():
        world.until(lambda: world.delivery()["attempts"] >= 1 and world.delivery()["state"] == "WAITING")
    assert world.delivery()["last_comment"] == "the storage cannot be used now (No space left on device)"
    with reading(world.ledger) as session:
        assert not [one for one in session.query(Destination) if not one.up]


def test_roi_names_and_selection_make_another_object_that_is_the_same_each_time(
    ledger: Engine, tmp_path: Path, tps: Tps
) -> None:
    world = World(ledger, tmp_path, tps, roi_names={"SpinalCord": "Cord"}, only=["SpinalCord"])
    tps.answer = lambda number, ds: 0x0110 if number == 0 else 0x0000
    world.job()
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    (received,) = tps.structure_sets
    assert [roi.ROIName for roi in received.StructureSetROISequence] == ["Cord"]
    assert [c.ReferencedROINumber for c in received.ROIContourSequence] == [2]
    assert received.SOPInstanceUID != uid("rtstruct", 1)


def test_a_renamed_file_that_is_not_what_was_judged_fails_and_is_not_sent(
    ledger: Engine, tmp_path: Path, tps: Tps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misnamed(judged: Path, destination: Any) -> Path:
        path = for_destination(judged, destination)
        dataset = dcmread(path)
        dataset.StructureSetROISequence[1].ROIName = "Myelon"
        dataset.save_as(path)
        return path

    monkeypatch.setattr(parcel, "for_destination", misnamed)
    world = World(ledger, tmp_path, tps, roi_names={"SpinalCord": "Cord"})
    world.job()
    with tps.running(), world.couriers():
        world.until_state("FAILED")
    assert tps.attempts == 0
    comment = world.delivery()["last_comment"]
    assert comment == (
        "the file made for tps is not right and is not sent: "
        "Cord: the file has no such ROI; Myelon: the configuration names no ROI so"
    )


def test_a_destination_that_wants_tls_is_never_sent_to_in_the_clear(world: World, tps: Tps) -> None:
    encrypted = world.config.destinations[0].model_copy(update={"tls": True})
    world.config = world.config.model_copy(update={"destinations": (encrypted,)})
    world.job()
    with tps.running(), world.couriers():
        world.until(lambda: world.delivery()["attempts"] >= 1 and world.delivery()["state"] == "WAITING")
    assert tps.attempts == 0
    assert "wants TLS" in world.delivery()["last_comment"]


# --- storage commitment ----------------------------------------------------------------------------------------------


class Committing:
    """The storage commitment side of a planning system: reports on the association that asked."""

    def __init__(self, failed: bool = False) -> None:
        self.failed = failed
        self.asked: list[Dataset] = []

    def handle(self, event: Any) -> tuple[int, None]:
        self.asked.append(event.action_information)
        threading.Thread(target=self.report, args=(event.assoc, event.action_information)).start()
        return 0x0000, None

    def report(self, association: Any, action: Dataset) -> None:
        time.sleep(0.2)
        report = Dataset()
        report.TransactionUID = action.TransactionUID
        items = list(action.ReferencedSOPSequence)
        if self.failed:
            items[0].FailureReason = 0x0110
            report.FailedSOPSequence = items
        else:
            report.ReferencedSOPSequence = items
        association.send_n_event_report(
            report, 2 if self.failed else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )


@pytest.mark.parametrize(("failed", "state"), [(False, "COMMITTED"), (True, "SENT")])
def test_commitment_is_asked_and_its_report_taken_on_the_same_association(
    ledger: Engine, tmp_path: Path, tps: Tps, failed: bool, state: str
) -> None:
    world = World(ledger, tmp_path, tps, commitment=True)
    committing = Committing(failed)
    world.job()
    handlers = [(evt.EVT_N_ACTION, committing.handle)]
    with tps.running(handlers, [StorageCommitmentPushModel]), world.couriers():
        world.until_state("DELIVERED")
    assert world.delivery()["state"] == state
    (asked,) = committing.asked
    assert [item.ReferencedSOPInstanceUID for item in asked.ReferencedSOPSequence] == [uid("rtstruct", 1)]


def test_a_tps_without_commitment_is_sent_to_all_the_same(ledger: Engine, tmp_path: Path, tps: Tps) -> None:
    world = World(ledger, tmp_path, tps, commitment=True)
    world.job()
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    assert world.delivery()["state"] == "SENT"
