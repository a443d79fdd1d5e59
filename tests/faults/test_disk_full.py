"""A disk that fills up while the daemon receives, segments and delivers, at a hundred sizes: it goes on by itself.

The storage is a tmpfs of its own, and a ballast file leaves so much room; both need the right to mount.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.faults.report import report
from tests.receiver import Peer
from tests.synthetic import write_series
from tests.world import Daemon, Tps, body_volume, wait_for, write_config

# pynetdicom leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SIZE_MB = 48
MOST_ROOM = 320 * 1024
"""More than one case needs: its images, its results, and the copy that the destination gets."""
SLICES = 20
FULL_SECONDS = 1.0
PAGE = 4096


@dataclass
class Disk:
    """A small disk of its own."""

    folder: Path
    ballast: Path = field(init=False)

    def __post_init__(self) -> None:
        self.ballast = self.folder / "ballast"

    def free(self) -> int:
        done = subprocess.run(["stat", "-f", "-c", "%a %S", self.folder], capture_output=True, text=True, check=True)
        blocks, size = map(int, done.stdout.split())
        return blocks * size

    def leave(self, room: int) -> None:
        """Fill the disk until so much is left."""
        with self.ballast.open("wb") as file:
            file.write(bytes(max(0, (self.free() - room) // PAGE * PAGE)))

    def relieve(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "storage"
    folder.mkdir()
    options = f"size={SIZE_MB}m,mode=0700"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "rtseg-test", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@dataclass
class Case:
    """One series on its way through a daemon whose disk is full for a while."""

    daemon: Daemon
    files: list[Path]

    def send(self) -> list[int | None]:
        with Peer(self.daemon.port, 30.0) as peer:
            assert peer.associate() == 2
            statuses = [peer.store(dcmread(path)) for path in self.files]
            peer.release()
        return statuses

    def delivered(self) -> bool:
        uid = str(dcmread(self.files[0]).SeriesInstanceUID)
        return any(job["series_instance_uid"] == uid and job["state"] == "DELIVERED" for job in self.daemon.jobs())


@pytest.mark.parametrize("points", [3, pytest.param(100, marks=pytest.mark.faults)])
def test_a_disk_full_at_any_size_costs_no_series_and_no_restart(tmp_path: Path, disk: Disk, points: int) -> None:
    tps, counts = Tps(), Counter[str]()
    peer = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": tps.port, "roi_names": {"Brainstem": "Stem"}}
    daemon = Daemon(write_config(tmp_path, tps.port, destinations=[peer]), tmp_path / "daemon.log")
    with tps.running():
        try:
            daemon.start()
            wait_for(lambda: len(daemon.pids()) == 3 and all(daemon.pids().values()), 60, daemon.tail)
            before = daemon.pids()
            for point in range(points):
                case = Case(daemon, write_series(tmp_path / f"ct{point}", body_volume(SLICES), seed=point))
                counts.update(one_point(disk, case, MOST_ROOM * point // max(1, points - 1)))
                sys.stderr.write(f"disk full {point + 1} of {points}: {dict(counts)}\n")
            assert daemon.pids() == before, "a process was started again"
        finally:
            assert daemon.stop() == 0
    counts["results that waited"] = daemon.log.read_text().count("the result cannot be written now")
    assert counts["refused"]
    assert counts["taken"]
    assert points < 100 or counts["results that waited"]
    assert len({d.SOPInstanceUID for d in tps.structure_sets}) == len(tps.structure_sets) == points
    report("disk full", points=points, counts=dict(counts))


def one_point(disk: Disk, case: Case, room: int) -> Counter[str]:
    """Send a series to a disk with so much room, give it room again, and see the series delivered."""
    disk.leave(room)
    try:
        statuses = case.send()
        assert set(statuses) <= {0x0000, 0xA700}
        if not any(statuses):
            time.sleep(FULL_SECONDS)
    finally:
        disk.relieve()
    if any(statuses):
        assert set(case.send()) == {0}
    wait_for(case.delivered, 120, case.daemon.tail, 0.2)
    return Counter(refused=sum(map(bool, statuses)), taken=statuses.count(0))
