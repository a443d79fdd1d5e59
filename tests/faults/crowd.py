"""Two thousand callers of a receiver, good and bad, each with the answer that it must get."""

import random
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset

from rtseg_daemon.anatomy.volume import Volume
from tests.peers import ENVIRONMENT, program
from tests.receiver import Peer, echo_seconds, encoded, request_pdu, store_pdus
from tests.synthetic import slice_dataset

STRAY = "STRAY"
"""The title under which single images come, which no route takes."""
PACS = "PACS"
CALLERS_AT_ONCE = 6
ABORT = struct.pack(">BBI", 7, 0, 4) + bytes(4)
EMPTY_PDU = 12
PATIENCE_SECONDS = 30.0


def body(slices: int = 20) -> Volume:
    """Water in air, HU, `(z, y, x)`. An image has 131 kB, which is more than a cramped connection takes unread."""
    y, x = np.meshgrid(np.arange(256) - 128.0, np.arange(256) - 128.0, indexing="ij")
    hu = np.where((y / 75) ** 2 + (x / 95) ** 2 < 1, 20, -1000).astype(np.int16)
    return Volume(np.repeat(hu[None], slices, axis=0), (3.0, 0.94, 0.94), (-30.0, -120.0, -120.0))


BODY = body()


def images(seed: int, slices: int) -> list[Dataset]:
    return [slice_dataset(BODY, k, "HFS", seed) for k in range(slices)]


def series(port: int, seed: int) -> None:
    with Peer(port, PATIENCE_SECONDS) as peer:
        assert peer.associate(calling=PACS) == 2
        assert {peer.store(image) for image in images(seed, len(BODY.array))} == {0}
        peer.release()


def one_image(port: int, seed: int) -> None:
    with Peer(port, PATIENCE_SECONDS) as peer:
        assert peer.associate(calling=STRAY) == 2
        assert peer.store(images(seed, 1)[0]) == 0
        peer.release()


def echo(port: int, _seed: int) -> None:
    echo_seconds(port)


def echo_of_dcmtk(port: int, _seed: int) -> None:
    command = [program("echoscu"), "-aet", PACS, "-aec", "RTSEG", "127.0.0.1", str(port)]
    assert subprocess.run(command, env=ENVIRONMENT, timeout=60, check=False).returncode == 0


def aborted(port: int, seed: int) -> None:
    """An abort between two PDUs, after the command and before its image."""
    with Peer(port, PATIENCE_SECONDS) as peer:
        assert peer.associate(calling=STRAY) == 2
        image = images(seed, 1)[0]
        command_alone = len(store_pdus(str(image.SOPInstanceUID), b"")) - EMPTY_PDU
        peer.say(store_pdus(str(image.SOPInstanceUID), encoded(image))[:command_alone] + ABORT)
        assert peer.pdu()[0] == 0


def vanishes(port: int, seed: int) -> None:
    """Half an image, and the connection is closed without a word."""
    with Peer(port, PATIENCE_SECONDS) as peer:
        assert peer.associate(calling=STRAY) == 2
        image = images(seed, 1)[0]
        whole = store_pdus(str(image.SOPInstanceUID), encoded(image))
        peer.say(whole[: len(whole) // 2])


def half_open(port: int, _seed: int) -> None:
    """Half an association request and silence: the receiver hangs up."""
    with Peer(port, PATIENCE_SECONDS) as peer:
        peer.say(request_pdu(calling=STRAY)[:40])
        while peer.pdu()[0]:
            pass


def wrong_title(port: int, _seed: int) -> None:
    with Peer(port, PATIENCE_SECONDS) as peer:
        assert peer.associate(calling=STRAY, called="NOBODY") == 3


Visit = Callable[[int, int], None]
OTHERS: Sequence[Visit] = (echo, one_image, aborted, vanishes, half_open, wrong_title)
DCMTK_OF = 20
"""One call of so many is dcmtk's."""


def visits(count: int, jobs: int) -> list[Visit]:
    """So many calls in a fixed order; `jobs` of them bring a series, spread evenly."""
    at = {count * k // jobs for k in range(jobs)}
    others = (echo_of_dcmtk if k % DCMTK_OF == 0 else OTHERS[k % len(OTHERS)] for k in range(count))
    mixed = list(others)
    random.Random(18).shuffle(mixed)
    return [series if k in at else visit for k, visit in enumerate(mixed)]


@dataclass
class Crowd:
    """Makes the visits, some at once, at an even pace over `seconds` where the machine can keep it."""

    port: int
    plan: list[Visit]
    seconds: float
    moments: dict[int, Callable[[], None]]
    """Number of a visit -> what is done before it, while no other begins."""
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    worst: dict[str, float] = field(default_factory=dict)
    """Longest visit of each kind, in seconds."""

    def run(self) -> None:
        numbers, lock, began = iter(range(len(self.plan))), threading.Lock(), time.monotonic()

        def call() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                    if number is None:
                        return
                    time.sleep(max(0.0, began + number * self.seconds / len(self.plan) - time.monotonic()))
                    self.moments.get(number, lambda: None)()
                self.visit(number)

        threads = [threading.Thread(target=call) for _ in range(CALLERS_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def visit(self, number: int) -> None:
        """One call. What goes otherwise than it must is kept for the end."""
        visit, began = self.plan[number], time.monotonic()
        try:
            visit(self.port, number)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            self.failures.append(f"{visit.__name__} {number}: {error!r}")
        name = visit.__name__
        self.counts[name] += 1
        self.worst[name] = max(self.worst.get(name, 0.0), time.monotonic() - began)
