"""The receiver as a process: its life, its peers, and what it does not load."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from rtseg_daemon import cli
from tests.faults.conftest import series
from tests.peers import program, storescu
from tests.receiver import Peer, Receiver, echo_seconds, encoded, running, store_pdus
from tests.world import wait_for


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    started = Receiver(tmp_path_factory.mktemp("receive"))
    try:
        yield started
    finally:
        started.end()


def saved(images: list[Dataset], folder: Path) -> list[Path]:
    paths = [folder / f"{k}.dcm" for k in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save_as(path, enforce_file_format=True)
    return paths


def test_torch_is_not_loaded(receiver: Receiver) -> None:
    assert "libtorch" not in Path(f"/proc/{receiver.process.pid}/maps").read_text()


@pytest.mark.peers
def test_echoscu_and_storescu_of_dcmtk(receiver: Receiver, tmp_path: Path) -> None:
    echo = [program("echoscu"), "-aec", "RTSEG", "127.0.0.1", str(receiver.port)]
    assert subprocess.run(echo, timeout=20, check=False).returncode == 0
    images = series("storescu", 4)
    storescu(receiver.port, saved(images, tmp_path))
    assert all(receiver.has(image.SOPInstanceUID) for image in images)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_pynetdicom_as_the_sender(receiver: Receiver) -> None:
    ae = AE("PYNET")
    ae.add_requested_context(Verification)
    ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", receiver.port, ae_title="RTSEG")
    assert association.is_established
    image = series("pynetdicom", 1)[0]
    assert association.send_c_echo().Status == 0x0000
    assert association.send_c_store(image).Status == 0x0000
    association.release()
    assert association.is_released
    assert receiver.has(image.SOPInstanceUID)


@pytest.mark.peers
@pytest.mark.parametrize("option", ["+ti", "+tb"])
def test_uncompressed_syntaxes_by_dcmconv(receiver: Receiver, tmp_path: Path, option: str) -> None:
    image = series(f"syntax {option}", 1)[0]
    (plain,) = saved([image], tmp_path)
    converted = tmp_path / "converted.dcm"
    subprocess.run([program("dcmconv"), option, plain, converted], check=True, timeout=20)
    send = [program("dcmsend"), "-aec", "RTSEG", "127.0.0.1", str(receiver.port), str(converted)]
    assert subprocess.run(send, timeout=20, check=False, capture_output=True).returncode == 0
    assert receiver.has(image.SOPInstanceUID)


def test_sigterm_finishes_the_message_at_hand_and_ends_with_0(tmp_path: Path) -> None:
    receiver, image = Receiver(tmp_path), series("drain", 1)[0]
    pdus = store_pdus(image.SOPInstanceUID, encoded(image))
    try:
        with Peer(receiver.port) as peer:
            assert peer.associate() == 2
            peer.say(pdus[:-100])
            time.sleep(0.3)
            receiver.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            peer.say(pdus[-100:])
            assert peer.status() == 0
        assert receiver.process.wait(15) == 0
        assert receiver.has(image.SOPInstanceUID)
    finally:
        receiver.end()


def test_the_end_of_the_supervisors_pipe_ends_it(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    try:
        assert receiver.process.stdin is not None
        receiver.process.stdin.close()
        receiver.process.wait(5)
    finally:
        receiver.process.kill()
        receiver.process.wait()


def test_associations_open_at_a_kill_have_died_after_the_restart(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    try:
        with Peer(receiver.port) as peer:
            assert peer.associate() == 2
            assert peer.store(series("died", 1)[0]) == 0
            (receiver.storage / "incoming" / "1-1.part").write_bytes(b"half an object")
            receiver.end()
        receiver.start()
        assert receiver.rows("select ending from association") == [("DIED",)]
        assert not receiver.unfinished()
        assert echo_seconds(receiver.port) < 1.0
    finally:
        receiver.end()


def ended(config: Path) -> tuple[int, str]:
    """Start a receiver that cannot run; its exit status and what it said."""
    command = [sys.executable, "-m", "rtseg_daemon.daemon.receiver", "--config", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        status = process.wait(30)
        return status, process.stderr.read()


def test_a_port_that_is_taken_ends_it_with_1(receiver: Receiver) -> None:
    status, said = ended(receiver.config)
    assert status == 1
    assert "cannot listen" in said


def test_certificates_that_cannot_be_used_end_it_with_2(receiver: Receiver, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        f"dicom: {{port: 1, tls: {{certificate: a, key: b, ca: c, port: 2, only: true}}}}\n"
        f"storage: {{directory: {receiver.storage}}}\n"
    )
    status, said = ended(config)
    assert status == 2
    assert "dicom.tls" in said


def test_rejected_callers_are_shown_in_status_with_title_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    callers = [{"ae_title": "PACS", "host": "127.0.0.1"}, {"ae_title": "FAR", "host": "10.0.0.1"}]
    for receiver in running(tmp_path, {"allowed_callers": callers}):
        for calling, called in (("STRANGER", "RTSEG"), ("STRANGER", "RTSEG"), ("FAR", "RTSEG"), ("PACS", "OTHER")):
            with Peer(receiver.port) as peer:
                assert peer.associate(calling=calling, called=called) == 3
        wait_for(lambda: len(receiver.rows("select * from rejected_caller")) == 3, 20)  # noqa: B023
        assert "STRANGER" in receiver.logged()
        monkeypatch.setattr("sys.argv", ["rtseg-daemon", "status", "--json", "--config", str(receiver.config)])
        with pytest.raises(SystemExit):
            cli.main()
        shape = json.loads(capsys.readouterr().out)
        monkeypatch.setattr("sys.argv", ["rtseg-daemon", "status", "--config", str(receiver.config)])
        with pytest.raises(SystemExit):
            cli.main()
        table = capsys.readouterr().out
    found = {(one["calling_ae"], one["called_ae"], one["count"], one["reason"]) for one in shape["rejected_callers"]}
    assert found == {
        ("STRANGER", "RTSEG", 2, "this calling AE title is not in dicom.allowed_callers"),
        ("FAR", "RTSEG", 1, "dicom.allowed_callers has this AE title at another address"),
        ("PACS", "OTHER", 1, "called AE title is not dicom.ae_title"),
    }
    assert shape["rejected_associations"] == {"calling_title": 2, "address": 1, "called_title": 1}
    assert "callers rejected in the last 24 hours" in table
    assert "STRANGER" in table
