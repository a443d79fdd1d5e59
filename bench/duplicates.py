"""What an image costs that comes again under its UID with other bytes: processor time of the receiver and its children.

    python -m bench.duplicates [--images 20]

A receiver gets a series of 512 x 512 images, then the same images again: as they were, with another value in a tag, and
encoded otherwise (big endian), so that only the values of their pixels can be compared. Each row tells the seconds for
one image, by the clock and by the processor. To compare two checkouts run it in each, on the same quiet machine.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from rtseg_daemon.anatomy.volume import Volume
from tests.receiver import Peer, Receiver
from tests.synthetic import slice_dataset

TICKS = os.sysconf("SC_CLK_TCK")


def images(count: int) -> list[Dataset]:
    """A noisy series, with which no encoder has it easy."""
    noise = np.random.default_rng(7).integers(-900, 900, (count, 512, 512)).astype(np.int16)
    volume = Volume(noise, (3.0, 1.0, 1.0), (0.0, -256.0, -256.0))
    return [slice_dataset(volume, k, "HFS", 0) for k in range(count)]


def tagged(image: Dataset) -> Dataset:
    image.StudyDescription = "RT planning, coerced"
    return image


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from family(int(child))


def processor_seconds(pid: int) -> float:
    """Of the process and its children, those that have ended included."""
    total = 0
    for number in family(pid):
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()
        total += sum(map(int, fields[11:15] if number == pid else fields[11:13]))
    return total / TICKS


def measure(receiver: Receiver, sent: list[Dataset], syntax: str) -> tuple[float, float]:
    """Seconds by the clock and by the processor for each image."""
    before, began = processor_seconds(receiver.process.pid), time.monotonic()
    with Peer(receiver.port, timeout=120.0) as peer:
        assert peer.associate(syntaxes=(syntax,)) == 2
        for image in sent:
            assert peer.store(image) == 0, receiver.logged()
        peer.release()
    elapsed = time.monotonic() - began
    return elapsed / len(sent), (processor_seconds(receiver.process.pid) - before) / len(sent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    count = parser.parse_args().images
    rows: list[tuple[str, Callable[[Dataset], Dataset], str]] = [
        ("new", lambda image: image, ExplicitVRLittleEndian),
        ("the same bytes", lambda image: image, ExplicitVRLittleEndian),
        ("another value in a tag", tagged, ExplicitVRLittleEndian),
        ("encoded otherwise", lambda image: image, ExplicitVRBigEndian),
    ]
    with tempfile.TemporaryDirectory() as folder:
        receiver = Receiver(Path(folder), {"message_seconds": 120})
        try:
            print(f"{'':24}{'clock':>10}{'processor':>12}   seconds per image, {count} images")
            for name, change, syntax in rows:
                clock, processor = measure(receiver, [change(image) for image in images(count)], syntax)
                print(f"{name:24}{clock:10.3f}{processor:12.3f}")
        finally:
            receiver.end()


if __name__ == "__main__":
    main()
