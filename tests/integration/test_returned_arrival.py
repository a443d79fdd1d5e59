"""Structure sets that come back by C-STORE: durable and known before they are answered, whatever is in them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RTStructureSetStorage

from tests.deliveries import structure_set
from tests.peers import storescu
from tests.receiver import Peer, Receiver, encoded, running, store_pdus
from tests.structure_sets import patients
from tests.synthetic import uid

CALLERS = [
    {"ae_title": "TPS", "host": "127.0.0.1", "feedback": True},
    {"ae_title": "PACS", "host": "127.0.0.1"},
]
CONTEXTS = {3: (RTStructureSetStorage, [ExplicitVRLittleEndian])}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("returned")
    yield from running(folder, {"allowed_callers": CALLERS}, feedback={"max_object_mb": 200})


def known(receiver: Receiver, sop_instance_uid: str) -> list[tuple[str, str, str, str]]:
    """State, path, digest and caller of the sets of this UID."""
    columns = "state, path, sha256, calling_ae"
    return receiver.rows(
        f"select {columns} from returned_set where sop_instance_uid = '{sop_instance_uid}' order by id"
    )


def store(receiver: Receiver, sop_instance_uid: str, data: bytes, calling: str = "TPS") -> int | None:
    """C-STORE these bytes; returns the status."""
    with Peer(receiver.port) as peer:
        assert peer.associate(calling=calling, contexts=CONTEXTS) == 2
        peer.say(store_pdus(sop_instance_uid, data, sop_class=RTStructureSetStorage))
        status = peer.status()
        peer.release()
    return status


def a_set(number: int) -> Dataset:
    dataset = structure_set(number)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("came back", number)
    return dataset


def test_a_real_vendors_set_from_a_feedback_caller_is_kept_byte_for_byte(receiver: Receiver) -> None:
    file = patients("dicom", "rtstruct_vendors") / "aria15.5_lung1-003.dcm"
    sent = dcmread(file)
    storescu(receiver.port, [file], calling="TPS")
    [(state, path, digest, calling)] = known(receiver, sent.SOPInstanceUID)
    kept = receiver.storage / path
    assert (state, calling) == ("RECEIVED", "TPS")
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == digest == kept.stem
    assert kept.parent.parent == receiver.storage / "returned"
    assert dcmread(kept) == sent
    assert kept.stat().st_mode & 0o077 == 0


def test_the_same_again_is_answered_and_noted_once_and_other_bytes_are_kept_beside(receiver: Receiver) -> None:
    dataset = a_set(1)
    for _ in range(2):
        assert store(receiver, dataset.SOPInstanceUID, encoded(dataset)) == 0x0000
    assert len(known(receiver, dataset.SOPInstanceUID)) == 1
    dataset.ApprovalStatus = "APPROVED"
    assert store(receiver, dataset.SOPInstanceUID, encoded(dataset)) == 0x0000
    first, second = known(receiver, dataset.SOPInstanceUID)
    assert first[1] != second[1]
    assert all((receiver.storage / path).is_file() for _, path, _, _ in (first, second))
    events = receiver.rows(
        "select what, detail from event e join returned_set r on e.subject = 'returned_set' and e.subject_id = r.id "
        f"where r.sop_instance_uid = '{dataset.SOPInstanceUID}' order by e.id"
    )
    assert [what for what, _ in events] == ["came back", "came again", "came back"]
    assert "other bytes than" in events[2][1]


def test_a_file_that_was_lost_here_is_mended_by_the_same_again(receiver: Receiver) -> None:
    dataset = a_set(2)
    store(receiver, dataset.SOPInstanceUID, encoded(dataset))
    [(_, path, _, _)] = known(receiver, dataset.SOPInstanceUID)
    (receiver.storage / path).unlink()
    assert store(receiver, dataset.SOPInstanceUID, encoded(dataset)) == 0x0000
    [(_, path, digest, _)] = known(receiver, dataset.SOPInstanceUID)
    assert hashlib.sha256((receiver.storage / path).read_bytes()).hexdigest() == digest


def test_a_set_of_any_other_caller_is_dropped_with_a_line_that_says_what_to_do(receiver: Receiver) -> None:
    dataset = a_set(3)
    assert store(receiver, dataset.SOPInstanceUID, encoded(dataset), calling="PACS") == 0x0000
    assert known(receiver, dataset.SOPInstanceUID) == []
    line = next(line for line in receiver.logged().splitlines() if "dropped a structure set" in line)
    assert "PACS" in line
    assert "feedback: true" in line


@pytest.mark.parametrize("kind", ["truncated", "not DICOM"])
def test_what_nobody_can_read_is_kept_too(receiver: Receiver, kind: str) -> None:
    dataset = a_set(4 if kind == "truncated" else 5)
    data = encoded(dataset)[:-7] if kind == "truncated" else b"what is this? " * 100
    assert store(receiver, dataset.SOPInstanceUID, data) == 0x0000
    [(_, path, _, _)] = known(receiver, dataset.SOPInstanceUID)
    assert (receiver.storage / path).read_bytes().endswith(data)


def test_a_set_larger_than_an_image_may_be_is_kept_and_one_above_its_own_limit_is_cut_off(receiver: Receiver) -> None:
    large = a_set(6)
    data = encoded(large)
    padding = bytes.fromhex("fcfffcff") + b"OB\0\0"  # DataSetTrailingPadding
    data += padding + (150 * 10**6).to_bytes(4, "little") + bytes(150 * 10**6)
    assert store(receiver, large.SOPInstanceUID, data) == 0x0000
    [(_, path, _, _)] = known(receiver, large.SOPInstanceUID)
    assert (receiver.storage / path).stat().st_size > 150 * 10**6
    with Peer(receiver.port) as peer:
        assert peer.associate(calling="TPS", contexts=CONTEXTS) == 2
        try:
            peer.say(store_pdus(uid("too large"), bytes(210 * 10**6), sop_class=RTStructureSetStorage))
            assert peer.status() is None
        except OSError:
            pass  # it was cut off while it was sending
    assert known(receiver, uid("too large")) == []
    assert receiver.unfinished() == []


def test_a_malformed_uid_and_an_empty_object_are_refused(receiver: Receiver) -> None:
    assert store(receiver, "../../../etc/passwd", encoded(a_set(7))) == 0x0117
    assert store(receiver, uid("empty"), b"") == 0xC000
    assert known(receiver, uid("empty")) == []


def test_a_full_disk_refuses_a_set_before_it_is_written(tmp_path: Path) -> None:
    storage = {"minimum_free_gb": 10**6}
    for receiver in running(tmp_path, {"allowed_callers": CALLERS}, storage=storage):
        dataset = a_set(8)
        assert store(receiver, dataset.SOPInstanceUID, encoded(dataset)) == 0xA700
        assert known(receiver, dataset.SOPInstanceUID) == []
        assert receiver.unfinished() == []


def test_every_acknowledged_set_is_there_after_the_receiver_was_killed(tmp_path: Path) -> None:
    for receiver in running(tmp_path, {"allowed_callers": CALLERS}):
        acknowledged = []
        for number in range(20, 24):
            dataset = a_set(number)
            if store(receiver, dataset.SOPInstanceUID, encoded(dataset)) == 0x0000:
                acknowledged.append(str(dataset.SOPInstanceUID))
        receiver.process.kill()
        receiver.process.wait()
        assert len(acknowledged) == 4
        for sop_instance_uid in acknowledged:
            [(_, path, digest, _)] = known(receiver, sop_instance_uid)
            assert hashlib.sha256((receiver.storage / path).read_bytes()).hexdigest() == digest


def test_implicit_syntax_is_kept_as_it_came(receiver: Receiver) -> None:
    dataset = a_set(9)
    with Peer(receiver.port) as peer:
        assert peer.associate(calling="TPS", contexts={3: (RTStructureSetStorage, [ImplicitVRLittleEndian])}) == 2
        data = encoded(dataset, ImplicitVRLittleEndian)
        peer.say(store_pdus(dataset.SOPInstanceUID, data, sop_class=RTStructureSetStorage))
        assert peer.status() == 0x0000
        peer.release()
    [(_, path, _, _)] = known(receiver, dataset.SOPInstanceUID)
    assert dcmread(receiver.storage / path).file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
