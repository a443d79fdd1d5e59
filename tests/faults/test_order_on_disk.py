"""That everything is durable before the answer: a system-call trace of one C-STORE, since no kill can show it."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import series
from tests.peers import program
from tests.receiver import Peer, Receiver

CALLS = "openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,sendto"


class Traced(Receiver):
    """A receiver under strace."""

    def command(self) -> list[str]:
        self.trace = self.folder / "trace"
        return [
            program("strace"),
            "-f",
            "-y",
            "-s",
            "8",
            "-e",
            f"trace={CALLS}",
            "-o",
            str(self.trace),
            *super().command(),
        ]


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs strace, and the right to trace")
    receiver = Traced(tmp_path)
    try:
        yield receiver
    finally:
        receiver.end()


@pytest.mark.peers
@pytest.mark.parametrize("earlier", [0, 2])
def test_written_fsynced_renamed_and_committed_before_the_answer(traced: Traced, earlier: int) -> None:
    """Once as the first object of its series and association, once as an ordinary one."""
    images = series("traced")
    with Peer(traced.port, 30.0) as peer:
        assert peer.associate() == 2
        for image in images[:earlier]:
            assert peer.store(image) == 0
        time.sleep(0.3)
        before = len(traced.trace.read_text().splitlines())
        assert peer.store(images[earlier]) == 0
        time.sleep(0.5)
    lines = traced.trace.read_text().splitlines()[before:]
    steps = {
        "written": first(lines, r"write\(\d+<[^>]*/incoming/[^>]*\.part>"),
        "fsynced": first(lines, r"fsync\(\d+<[^>]*/incoming/[^>]*\.part>"),
        "renamed": first(lines, r"rename\w*\(.*/incoming/.*\.part\".*/series/"),
        "folder fsynced": first(lines, r"fsync\(\d+<[^>]*/series/[0-9-]{10}>"),
        "committed": first(lines, r"f(data)?sync\(\d+<[^>]*/rtseg\.db-wal>"),
        "answered": first(lines, r"sendto\(\d+<"),
    }
    assert list(steps.values()) == sorted(steps.values()), steps


def first(lines: list[str], pattern: str) -> int:
    """Number of the first line that fits and is a finished call."""
    for number, line in enumerate(lines):
        if re.search(pattern, line):
            return number
    raise AssertionError(f"no system call like {pattern} in:\n" + "\n".join(lines))
