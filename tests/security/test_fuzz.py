"""Random damage to everything a peer can say, against the running receiver, from a seed and for a bounded time."""

import random
import socket
import struct
import time
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage
from structlog.testing import capture_logs

from fuzz.seeds import SEEDS
from fuzz.targets import HOUSE, SYNTAXES, TARGETS, Said
from rtseg_daemon.dicom.part10 import is_uid
from rtseg_daemon.dicom.wire import Wire
from rtseg_daemon.receive.examine import Examined, examine
from rtseg_daemon.receive.session import Session
from tests.receiver import (
    ECHO_PDUS,
    RELEASE,
    Peer,
    Receiver,
    echo_seconds,
    encoded,
    request_pdu,
    store_pdus,
)
from tests.security.conftest import ct_image

SECONDS = 6.0
RELEASE_RP = struct.pack(">BBI", 6, 0, 4) + bytes(4)
KILLERS = Path(__file__).parents[3] / "shared" / "data" / "dicom" / "fuzz" / "killers"
INTERESTING = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\xdd\xe0",
    b"SQ\0\0",
    b"UN\0\0",
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes overwritten, inserted, cut out or doubled."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(damaged) + 1)
        kind = rng.randrange(5)
        patch = rng.choice(INTERESTING) if rng.random() < 0.6 else rng.randbytes(rng.randrange(1, 9))
        if kind == 0:
            damaged[at : at + len(patch)] = patch
        elif kind == 1:
            damaged[at:at] = patch
        elif kind == 2:
            del damaged[at : at + rng.randrange(1, 64)]
        elif kind == 3:
            damaged[at:at] = damaged[at : at + rng.randrange(1, 256)]
        elif damaged and at < len(damaged):
            damaged[at] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def talk(port: int, data: bytes, associate: bool) -> None:
    """Say it, say no more, and hear every answer."""
    with Peer(port, 2.0) as peer:
        try:
            if associate and peer.associate() != 2:
                return
            peer.say(data)
            peer.socket.shutdown(socket.SHUT_WR)
            while peer.pdu()[0]:
                pass
        except OSError:
            return


@pytest.mark.parametrize("seed", [1])
def test_random_damage_breaks_nothing(receiver: Receiver, seed: int) -> None:
    rng = random.Random(seed)
    request, raw = request_pdu(), encoded(ct_image(seed=seed))
    instance = str(ct_image(seed=seed).SOPInstanceUID)
    deadline, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < deadline:
        choice = rng.randrange(4)
        if choice == 0:
            talk(receiver.port, mutated(request, rng) + ECHO_PDUS + RELEASE, associate=False)
        elif choice == 1:
            talk(receiver.port, mutated(store_pdus(instance, raw), rng) + RELEASE, associate=True)
        elif choice == 2:
            talk(receiver.port, store_pdus(instance, mutated(raw, rng)) + RELEASE, associate=True)
        else:
            talk(receiver.port, rng.randbytes(rng.randrange(1, 2000)), associate=rng.random() < 0.5)
        rounds += 1
    assert rounds > 20
    unharmed(receiver)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom on values that break their VR
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_targets_of_the_long_runs_raise_nothing_on_damaged_seeds(name: str) -> None:
    """What atheris explores for hours (`make fuzz`), for a second each and from a seed."""
    rng, seeds = random.Random(2), SEEDS[name]()
    deadline, rounds = time.monotonic() + 1.0, 0
    with capture_logs():
        while time.monotonic() < deadline or rounds < 20:
            TARGETS[name](mutated(rng.choice(seeds), rng))
            rounds += 1


def test_the_seeds_of_the_long_runs_reach_the_end() -> None:
    """A corpus that is refused at the door would explore the door only."""
    stored = Said(SEEDS["association"]()[-1])
    with capture_logs():
        Session(HOUSE, Wire(stored, HOUSE.limits), "127.0.0.1").run()  # type: ignore[arg-type]
    assert stored.heard.endswith(RELEASE_RP)
    assert struct.pack("<HHIH", 0, 0x0900, 2, 0) in bytes(stored.heard)
    for seed in SEEDS["data_set"]():
        assert isinstance(examine(memoryview(seed)[1:], SYNTAXES[seed[0]], CTImageStorage, "1.2.3"), Examined)


@pytest.mark.patients
def test_files_that_crash_other_readers_do_not_harm_the_receiver(receiver: Receiver) -> None:
    if not KILLERS.is_dir():
        pytest.skip("needs the hostile files beside the checkout")
    for path in sorted(p for p in KILLERS.rglob("*") if p.is_file()):
        content = path.read_bytes()
        with Peer(receiver.port, 10.0) as peer:
            if peer.associate(syntaxes=(syntax_of(path),)) == 2:
                peer.say(store_pdus("1.2.3", content[start_of_data_set(content) :]))
                peer.status()
    unharmed(receiver)


def syntax_of(path: Path) -> str:
    """The transfer syntax a hostile file claims, if that is one at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            claimed = str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)
        except Exception:  # noqa: BLE001 - a file made to break readers
            return "1.2.840.10008.1.2.1"
    return claimed if is_uid(claimed) else "1.2.840.10008.1.2.1"


def start_of_data_set(content: bytes) -> int:
    return 144 + int.from_bytes(content[140:144], "little") if content[128:132] == b"DICM" else 0


def unharmed(receiver: Receiver) -> None:
    """Alive, quick, small, tidy, and without an exception that nobody foresaw."""
    assert receiver.process.poll() is None
    assert echo_seconds(receiver.port) < 1.0
    assert receiver.peak_mb() < 250
    deadline = time.monotonic() + 20  # pixels are compared by a process of their own, which may start slowly
    while receiver.unfinished() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not receiver.unfinished()
    assert "an association broke" not in receiver.logged()
