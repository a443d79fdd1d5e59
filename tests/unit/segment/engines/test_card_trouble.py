"""What a card's trouble becomes: smaller windows, a worker that ends, a job that fails by name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rtseg_daemon.bundles import installed_models, load_bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import CardLost, EngineError
from rtseg_daemon.segment.engines.engine import Choice
from rtseg_daemon.segment.engines.kept_models import drop_altered, kept_kernels
from rtseg_daemon.segment.engines.memory import card_lost, out_of_memory
from rtseg_daemon.segment.engines.start import choice_for
from rtseg_daemon.segment.ensemble import class_weights, combine
from rtseg_daemon.work.loaded import Loaded


@pytest.fixture(scope="module")
def shipped():
    return load_bundle(installed_models(), "han-oar")


def test_a_cuda_error_is_a_lost_card_and_a_shortage_of_memory_is_none():
    lost = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert card_lost(lost)
    wrapped = EngineError("the bundle cannot run")
    wrapped.__cause__ = lost
    assert card_lost(wrapped)
    assert not card_lost(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not card_lost(RuntimeError("CUDA error: out of memory"))
    assert out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not card_lost(ValueError("something else"))


def test_a_card_that_disappears_ends_the_attempt_and_no_smaller_window_is_tried(shipped):
    tried = []

    def process(load):
        tried.append(load)
        raise RuntimeError("CUDA error: device not ready\nCUDA kernel errors might be asynchronously reported")

    loaded = Loaded(Compute(device="cuda:0"), Path("cache"))
    with pytest.raises(CardLost, match=r"the card failed: CUDA error: device not ready$"):
        loaded.run([shipped], process, lambda what, detail: None)
    assert len(tried) == 1


def test_memory_that_ran_out_on_a_card_is_tried_in_smaller_windows_then_on_the_processor_and_told(shipped):
    devices, notes = [], []
    loaded = Loaded(Compute(device="cuda:0"), Path("cache"))
    loaded.loader = lambda device, halvings, note: devices.append((device, halvings))

    def process(_load):
        if devices[-1][0] != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return "contours"

    assert loaded.run([shipped], process, lambda what, detail: notes.append((what, detail))) == "contours"
    assert [device for device, _ in devices][-2:] == ["cuda:0", "cpu"]
    assert [halvings for _, halvings in devices][:-1] == list(range(len(devices) - 1))
    assert {what for what, _ in notes} == {"out of memory"}
    assert len(notes) == len(devices) - 1


def test_answers_that_are_no_numbers_contour_nothing():
    p = np.full((2, 2, 2, 2), np.nan, np.float32)
    with pytest.raises(EngineError, match="not all numbers; nothing is contoured"):
        combine([p], class_weights([[1.0]], 1))
    with pytest.raises(EngineError, match="not all numbers"):
        combine([torch.from_numpy(p)], class_weights([[1.0]], 1))


def test_workers_that_share_a_card_each_plan_with_their_part_of_its_memory(monkeypatch):
    monkeypatch.setattr("rtseg_daemon.segment.engines.torch_engine.cuda_devices", lambda: (2, ""))
    shared = Compute(device="cuda:0", devices=("cuda:0", "cuda:0", "cuda:1"))
    assert choice_for(shared).share == 2
    assert choice_for(shared.model_copy(update={"device": "cuda:1"})).share == 1
    assert Choice("cpu", "torch", "fp32").share == 1

    from rtseg_daemon.segment.engines import torch_engine

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 10)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)
    assert torch_engine.free_bytes("cuda", 1) == 70
    assert torch_engine.free_bytes("cuda:0", 2) == 40
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 0.2)
    assert torch_engine.free_bytes("cuda:0", 2) == 10


def test_kernels_are_kept_with_their_digests_and_an_altered_one_is_dropped(tmp_path, monkeypatch):
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    folder = tmp_path / "kernels"
    with kept_kernels(tmp_path):
        (folder / "ABC").mkdir()
        (folder / "ABC" / "affine.cubin").write_bytes(b"kernel")
        (folder / "ABC" / "affine.json").write_bytes(b"{}")
    drop_altered(folder)
    assert (folder / "ABC" / "affine.cubin").read_bytes() == b"kernel"
    (folder / "ABC" / "affine.cubin").write_bytes(b"another")
    (folder / "ABC" / "stray.so").write_bytes(b"never listed")
    with kept_kernels(tmp_path):
        assert not (folder / "ABC" / "affine.cubin").exists()
        assert not (folder / "ABC" / "stray.so").exists()
        assert (folder / "ABC" / "affine.json").exists()


def test_a_cache_that_cannot_be_written_costs_nothing_but_its_keeping(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with kept_kernels(tmp_path / "file"):
        pass
    with kept_kernels(None):
        pass
