"""The daemon as a process: workers, supervisors and partners die, and every series still ends in one structure set."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers import Storescp, storescu
from tests.world import ROOT, Daemon, Tps, patient, send, wait_for, write_config

# pynetdicom leaves sockets to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextmanager
def running(folder: Path, tps_port: int, environment: dict[str, str] | None = None, **changes: Any) -> Iterator[Daemon]:
    """A daemon with a stub worker, stopped at the end however the test ends."""
    daemon = Daemon(write_config(folder, tps_port, **changes), folder / "daemon.log", environment=environment or {})
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return f"{pid} (" in Path(f"/proc/{pid}/stat").read_text() and ") Z " not in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.peers
def test_killed_worker_and_killed_daemon_still_deliver_exactly_one_structure_set(tmp_path: Path) -> None:
    tps = Storescp(tmp_path / "tps")
    files = patient(tmp_path / "ct")
    with tps.running(), running(tmp_path, tps.port, {"STUB_SECONDS": "4"}) as daemon:
        storescu(daemon.port, files)
        daemon.wait_for_state("RUNNING")
        os.kill(daemon.pid("worker-0"), signal.SIGKILL)
        wait_for(lambda: daemon.jobs()[0]["attempts"] == 1, 20, daemon.tail)
        daemon.wait_for_state("RUNNING")
        children = daemon.pids()
        daemon.kill()
        wait_for(lambda: not any(alive(pid) for pid in children.values() if pid), 10)
        daemon.start()
        job = daemon.wait_for_state("DELIVERED", 40)
    assert len(tps.files) == 1
    assert str(tps.structure_sets[0].SOPInstanceUID) == job["rtstruct_sop_instance_uid"]
    assert job["attempts"] == 1, "the restart of the daemon must not cost the job an attempt"


def test_a_receiver_that_is_killed_comes_back_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    tps = Tps()
    files = patient(tmp_path / "ct")
    # the series must still be open when the receiver is back, however slowly it starts
    with tps.running(), running(tmp_path, tps.port, series={"quiet_seconds": 10}) as daemon:
        assert set(send(daemon.port, files[:12])) == {0}
        os.kill(daemon.pid("receiver"), signal.SIGKILL)
        wait_for(lambda: daemon.answers(), 30, daemon.tail)
        (series,) = daemon.ask("series", "list")
        assert series["instance_count"] == 12
        assert set(send(daemon.port, files)) == {0}
        job = daemon.wait_for_state("DELIVERED", 60)
        assert daemon.ask("series", "show", str(series["id"]))["jobs"][-1] == job["id"]
    assert len({d.SOPInstanceUID for d in tps.structure_sets}) == 1
    images = tps.structure_sets[0].ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    assert len(images.RTReferencedSeriesSequence[0].ContourImageSequence) == 20


def test_a_poison_job_stops_after_max_attempts_and_a_hanging_one_is_stopped(tmp_path: Path) -> None:
    tps = Tps()
    poison, hang = tmp_path / "poison", tmp_path / "hang"
    poison.touch()
    environment = {"STUB_DIE": str(poison), "STUB_HANG": str(hang)}
    jobs = {"max_attempts": 2, "timeout_seconds": 3, "shutdown_seconds": 5}
    with tps.running(), running(tmp_path, tps.port, environment, jobs=jobs) as daemon:
        send(daemon.port, patient(tmp_path / "a", seed=1))
        job = daemon.wait_for_state("FAILED")
        assert job["attempts"] == 2
        assert "killed by signal 9" in job["error"]
        poison.unlink()
        hang.touch()
        send(daemon.port, patient(tmp_path / "b", seed=2))
        job = daemon.wait_for_state("FAILED", 40, job=2)
        assert "timeout_seconds" in job["error"]
        hang.unlink()
        assert daemon.command("jobs", "retry", str(job["id"])).returncode == 0
        daemon.wait_for_state("DELIVERED")


def test_a_running_job_is_finished_or_handed_back_on_sigterm_and_the_exit_status_is_0(tmp_path: Path) -> None:
    tps = Tps()
    with tps.running(), running(tmp_path, tps.port, {"STUB_SECONDS": "60"}, jobs={"shutdown_seconds": 1}) as daemon:
        send(daemon.port, patient(tmp_path / "ct"))
        daemon.wait_for_state("RUNNING")
        assert daemon.stop() == 0
        (job,) = daemon.jobs()
        assert (job["state"], job["attempts"]) == ("QUEUED", 0)


def test_a_second_daemon_on_the_same_storage_says_so_and_ends(tmp_path: Path) -> None:
    tps = Tps()
    with running(tmp_path, tps.port) as daemon:
        second = daemon.command("serve")
        assert second.returncode == 1
        assert "another daemon works on" in second.stderr
        assert daemon.answers()


def test_an_altered_bundle_stops_serve_with_the_file_named(tmp_path: Path) -> None:
    config = write_config(tmp_path, 1)
    weights = tmp_path / "models" / "tiny" / "member0.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    done = Daemon(config, tmp_path / "log").command("serve")
    assert done.returncode == 1
    assert str(weights) in done.stderr


def test_a_wrong_configuration_exits_2_with_key_and_line(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("dicom:\n  prot: 11112\n")
    done = Daemon(config, tmp_path / "log").command("serve")
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert "prot" in done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "rtseg_daemon.cli",
        "rtseg_daemon.daemon.supervisor",
        "rtseg_daemon.daemon.receiver",
        "rtseg_daemon.daemon.deliverer",
    ],
)
def test_torch_is_imported_by_workers_alone(module: str) -> None:
    code = f"import {module}, sys; print([m for m in ('torch', 'openvino') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
