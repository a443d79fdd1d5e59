"""Memory does not suffice: smaller windows, then the processor, and every organ says so."""

from collections.abc import Callable
from typing import Any

import pytest

from rtseg_daemon.ledger import decisions
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.work import case
from rtseg_daemon.work import job as job_module
from tests.unit.work.bench import Bench, events_of_job


class OutOfMemoryError(RuntimeError):
    """As torch.cuda names it."""


def starved(monkeypatch: pytest.MonkeyPatch, enough: Callable[[str, Any], bool]) -> list[tuple[str, Any]]:
    """Let loading fail for want of memory where not `enough(device, window)`; returns what is tried."""
    tried: list[tuple[str, Any]] = []
    honest = case.load_segmenter

    def load(bundle: Any, compute: Any, cache: Any) -> Any:
        tried.append((compute.device, bundle.window))
        if not enough(compute.device, bundle.window):
            raise OutOfMemoryError("CUDA out of memory")
        return honest(bundle, compute, cache)

    monkeypatch.setattr(case, "load_segmenter", load)
    return tried


def with_window(bench: Bench, monkeypatch: pytest.MonkeyPatch, window: tuple[int, int, int]) -> None:
    """The job's bundle as if it had been trained in this window; the worker has a GPU."""
    honest = job_module.bundles_for

    def load(config: Any, names: str) -> Any:
        return [bundle.model_copy(update={"window": window}) for bundle in honest(config, names)]

    monkeypatch.setattr(job_module, "bundles_for", load)
    loaded = bench.desk.loaded
    loaded.compute = loaded.compute.model_copy(update={"device": "cuda:0"})


def test_out_of_memory_on_a_gpu_means_smaller_windows_and_every_organ_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_window(bench, monkeypatch, (64, 64, 64))
    tried = starved(monkeypatch, lambda _device, window: window[0] < 64)
    job = bench.run()
    assert job["state"] == "SEGMENTED"
    assert tried == [("cuda:0", (64, 64, 64)), ("cuda:0", (32, 64, 64))]
    assert set(job["flags"].values()) <= {"REVIEW", "REJECT"}
    assert all("32 x 64 x 64 voxels instead of 64 x 64 x 64" in roi["comment"] for roi in job["rois"])
    assert {"out of memory", "smaller windows"} <= set(events_of_job(bench))


def test_where_smaller_windows_do_not_fit_either_the_cpu_takes_those_of_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_window(bench, monkeypatch, (64, 64, 64))
    tried = starved(monkeypatch, lambda device, _window: device == "cpu")
    job = bench.run()
    assert job["state"] == "SEGMENTED"
    assert [device for device, _ in tried] == ["cuda:0", "cuda:0", "cuda:0", "cpu"]
    assert tried[-1][1] == (64, 64, 64)
    assert not any("instead of" in roi["comment"] for roi in job["rois"])


def test_windows_that_cannot_be_halved_go_to_the_cpu_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with_window(bench, monkeypatch, (16, 24, 24))
    tried = starved(monkeypatch, lambda device, _window: device == "cpu")
    assert bench.run()["state"] == "SEGMENTED"
    assert [device for device, _ in tried] == ["cuda:0", "cpu"]


def test_a_job_for_which_no_memory_suffices_fails_and_says_what_to_do(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    starved(monkeypatch, lambda _device, _window: False)
    job = bench.run()
    assert job["state"] == "FAILED"
    assert "memory ran out" in job["error"]
    assert "then retry the job" in job["error"]


def test_a_case_that_ran_in_smaller_windows_does_not_decide_for_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_window(bench, monkeypatch, (64, 64, 64))
    short = [True]
    tried = starved(monkeypatch, lambda _device, window: window[0] < 64 or not short[0])
    bench.run()
    short[0] = False
    with writing(bench.ledger) as session:
        bench.job = decisions.rerun(session, bench.job, "anna").id
    assert not any("instead of" in roi["comment"] for roi in bench.run()["rois"])
    assert tried[-1] == ("cuda:0", (64, 64, 64))
