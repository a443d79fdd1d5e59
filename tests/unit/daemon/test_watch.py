"""Which running jobs are overdue, by a clock that only the supervisor turns."""

import pytest

from rtseg_daemon.config.sections import Compute
from rtseg_daemon.daemon.children import devices, why_ended
from rtseg_daemon.daemon.watch import Watch
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.supervision import Progress


def job(beats: int = 0, owner: str = "w") -> Progress:
    return Progress(1, owner, beats, "infer")


def test_a_job_that_beats_may_run_until_the_timeout() -> None:
    watch = Watch(timeout_seconds=100, stall_seconds=30)
    assert [watch.overdue([job(beat)], now=float(beat * 20)) for beat in range(6)] == [[]] * 6
    ((late, reason),) = watch.overdue([job(6)], now=101.0)
    assert late.job_id == 1
    assert reason == "not finished within jobs.timeout_seconds (100 s)"


def test_a_job_that_stands_still_is_stopped_early() -> None:
    watch = Watch(timeout_seconds=1000, stall_seconds=30)
    assert watch.overdue([job(3)], now=0.0) == []
    assert watch.overdue([job(3)], now=30.0) == []
    assert watch.overdue([job(3)], now=31.0)[0][1] == "no progress for 30 s"


def test_another_workers_turn_starts_the_clock_again() -> None:
    watch = Watch(timeout_seconds=100, stall_seconds=100)
    watch.overdue([job(owner="a")], now=0.0)
    assert watch.overdue([job(owner="b")], now=150.0) == []
    assert watch.overdue([job(owner="b")], now=260.0) != []


def test_a_job_that_ended_is_forgotten() -> None:
    watch = Watch(timeout_seconds=100, stall_seconds=100)
    watch.overdue([job()], now=0.0)
    watch.overdue([], now=1.0)
    assert watch.seen == {}


def test_there_is_one_worker_per_device() -> None:
    assert devices(Compute(), None, 0) == ["auto"]
    assert devices(Compute(), None, 1) == ["auto"]
    assert devices(Compute(), None, 4) == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert devices(Compute(), "2,3", 4) == ["cuda:0", "cuda:1"]
    assert devices(Compute(), "", 4) == ["auto"]
    assert devices(Compute(device="cpu"), None, 4) == ["cpu"]


def test_devices_that_are_listed_get_a_worker_each_and_one_card_may_have_several() -> None:
    listed = Compute(devices=("cuda:0", "cuda:0", "cuda:1"))
    assert devices(listed, None, 2) == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(ConfigError, match=r"compute\.devices names cuda:0 but this machine shows no GPU"):
        devices(listed, None, 0)


@pytest.mark.parametrize(("device", "visible", "nodes"), [("cuda", None, 0), ("cuda:1", "", 2)])
def test_a_gpu_that_is_not_there_stops_the_start_with_exit_status_2(
    device: str, visible: str | None, nodes: int
) -> None:
    with pytest.raises(ConfigError, match=f"compute.device is {device} but this machine shows no GPU"):
        devices(Compute(device=device), visible, nodes)


def test_a_death_is_told_in_words() -> None:
    assert why_ended("worker-0", -9) == "worker-0 was killed by signal 9 (out of memory?)"
    assert why_ended("worker-0", -11) == "worker-0 was killed by signal 11"
    assert why_ended("receiver", 1) == "receiver ended with exit status 1"
