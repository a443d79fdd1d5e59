"""`kill -9` of the receiver at random moments under load: whatever was acknowledged is there, whole."""

import hashlib
import random
import threading
import time
from pathlib import Path

import pytest
from pydicom import Dataset

from rtseg_daemon.ledger.states import Ending
from tests.faults.conftest import series
from tests.receiver import Peer, Receiver, encoded

SENDERS = 3


class Sender(threading.Thread):
    """A PACS that sends one series after the other, and again from the start of the series whatever was cut off."""

    def __init__(self, receiver: Receiver, name: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.receiver = receiver
        self.title = name
        self.stop_event = stop
        self.acknowledged: dict[str, str] = {}
        self.finished: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.stop_event.is_set():
            images = series(f"{self.title} {number}", 12)
            if self.send(images):
                self.finished.append(str(images[0].SeriesInstanceUID))
                number += 1

    def send(self, images: list[Dataset]) -> bool:
        """True once every image of the series was acknowledged on one association that ended in order."""
        try:
            with Peer(self.receiver.port, 5.0) as peer:
                if peer.associate(calling=self.title) != 2:
                    return False
                for image in images:
                    if peer.store(image) != 0:
                        return False
                    self.acknowledged[str(image.SOPInstanceUID)] = hashlib.sha256(encoded(image)).hexdigest()
                peer.release()
        except (OSError, AssertionError):
            time.sleep(0.02)
            return False
        return True


def data_set_digest(file: Path) -> str:
    """SHA-256 of what follows the file meta information."""
    content = file.read_bytes()
    return hashlib.sha256(content[144 + int.from_bytes(content[140:144], "little") :]).hexdigest()


@pytest.mark.parametrize("kills", [8, pytest.param(600, marks=pytest.mark.faults)])
def test_no_acknowledged_object_is_lost_by_kills(tmp_path: Path, kills: int) -> None:
    receiver, rng, stop = Receiver(tmp_path), random.Random(7), threading.Event()
    senders = [Sender(receiver, f"PACS{number}", stop) for number in range(SENDERS)]
    try:
        for sender in senders:
            sender.start()
        for _ in range(kills):
            time.sleep(rng.uniform(0.02, 0.6))
            receiver.process.kill()
            receiver.end()
            assert receiver.rows("pragma integrity_check") == [("ok",)]
            receiver.start()
        time.sleep(1.0)
        stop.set()
        for sender in senders:
            sender.join(20)
        check(receiver, senders)
    finally:
        stop.set()
        receiver.end()


def check(receiver: Receiver, senders: list[Sender]) -> None:
    kept = dict(receiver.rows("select sop_instance_uid, path from instance where state = 'KEPT'"))
    acknowledged = {uid: digest for sender in senders for uid, digest in sender.acknowledged.items()}
    assert len(acknowledged) > 20
    lost = [uid for uid in acknowledged if uid not in kept]
    assert not lost
    altered = [uid for uid, digest in acknowledged.items() if data_set_digest(receiver.storage / kept[uid]) != digest]
    assert not altered
    assert not receiver.unfinished()
    endings = {ending for (ending,) in receiver.rows("select distinct ending from association")}
    assert str(Ending.DIED) in endings
    assert str(Ending.OPEN) not in endings
    twice = receiver.rows("select 1 from instance where state = 'KEPT' group by sop_instance_uid having count(*) > 1")
    assert not twice
