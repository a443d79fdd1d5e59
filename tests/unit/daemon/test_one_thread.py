"""Threads for linear algebra: none in processes that do none, all that the administrator allows in a worker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtseg_daemon.config.file import Config
from rtseg_daemon.daemon.children import Child, Modules, children_of
from rtseg_daemon.one_thread import ONE_THREAD
from rtseg_daemon.storage import Layout, lock_storage
from tests.world import wait_for

ROOT = Path(__file__).parents[3]


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of many cores, as numpy sees it."""
    for key in ONE_THREAD:
        monkeypatch.setenv(key, "8")


def environment_of(child: Child) -> dict[str, str]:
    """What the child's process was given."""
    assert child.start_if_due()
    assert child.process is not None
    try:
        file = Path(f"/proc/{child.process.pid}/environ")
        wait_for(lambda: bool(file.read_text()), 10)  # empty for a moment after the program was started
        return dict(pair.split("=", 1) for pair in file.read_text().split("\0") if pair)
    finally:
        child.process.kill()
        child.process.wait()
        assert child.line is not None
        child.line.close()


@pytest.mark.usefixtures("crowded")
def test_all_children_but_the_workers_start_with_one_thread(config: Config, layout: Layout, tmp_path: Path) -> None:
    lock = lock_storage(layout)
    try:
        children = children_of(config, tmp_path / "config.yaml", lock, None, Modules())
        found = {child.name: environment_of(child)["OPENBLAS_NUM_THREADS"] for child in children}
    finally:
        os.close(lock)
    assert found == {"receiver": "1", "worker-0": "8", "deliverer": "1"}


@pytest.mark.usefixtures("crowded")
def test_the_supervisor_has_no_idle_threads_and_hands_the_environment_on(tmp_path: Path) -> None:
    program = (
        "import os, pathlib\n"
        "from rtseg_daemon.cli import running\n"
        "running.require_config = lambda path: None\n"
        "try:\n"
        f"    running.serve(pathlib.Path({str(tmp_path / 'none.yaml')!r}))\n"
        "except Exception:\n"
        "    pass\n"
        "import sys\n"
        "assert 'numpy' in sys.modules\n"
        "print(len(os.listdir('/proc/self/task')), os.environ['OPENBLAS_NUM_THREADS'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["1", "8"], done.stderr


@pytest.mark.usefixtures("crowded")
def test_numpy_alone_would_start_a_thread_for_each_core() -> None:
    """What the tests above guard against is real with the numpy that is installed."""
    program = "import os, numpy; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 1
