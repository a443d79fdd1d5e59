"""Every engine gives torch fp32's answer; what is not there is named."""

import numpy as np
import pytest

from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.errors import EngineError
from rtseg_daemon.segment.engine import Choice, choose
from rtseg_daemon.segment.engines import load_engine
from tests.tiny import make_bundle


@pytest.mark.parametrize(
    ("asked", "cuda", "bf16", "got"),
    [
        (("auto", "auto", "auto"), 0, True, ("cpu", "openvino", "bf16")),
        (("auto", "auto", "auto"), 0, False, ("cpu", "openvino", "fp32")),
        (("auto", "auto", "auto"), 2, True, ("cuda", "torch", "fp16")),
        (("cpu", "auto", "auto"), 2, False, ("cpu", "openvino", "fp32")),
        (("cuda:1", "auto", "bf16"), 2, False, ("cuda:1", "torch", "bf16")),
        (("auto", "torch", "fp32"), 0, True, ("cpu", "torch", "fp32")),
    ],
)
def test_what_auto_means(asked, cuda, bf16, got):
    choice = choose(*asked, 0, cuda, bf16)
    assert (choice.device, choice.backend, choice.precision) == got


@pytest.mark.parametrize(
    ("asked", "cuda", "message"),
    [
        (("cuda", "auto", "auto"), 0, "no CUDA device"),
        (("cuda:3", "auto", "auto"), 2, "there are 2 CUDA devices"),
        (("cuda", "openvino", "auto"), 1, "openvino runs on the processor"),
    ],
)
def test_a_device_that_is_not_there_is_named(asked, cuda, message):
    with pytest.raises(EngineError, match=message):
        choose(*asked, 0, cuda, False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    make_bundle(models)
    return load_bundle(models, "tiny")


def window(bundle):
    return np.random.default_rng(0).uniform(0, 1, bundle.window).astype(np.float32)


def probabilities(bundle, backend, precision, cache=None):
    return load_engine(bundle, Choice("cpu", backend, precision, 1), cache).probabilities(1, window(bundle))


def test_openvino_fp32_is_torch_fp32(tiny):
    assert probabilities(tiny, "openvino", "fp32") == pytest.approx(probabilities(tiny, "torch", "fp32"), abs=2e-4)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_sixteen_bit_stays_near(tiny, backend):
    difference = np.abs(probabilities(tiny, backend, "bf16") - probabilities(tiny, "torch", "fp32"))
    assert difference.mean() < 0.02


def test_probabilities_sum_to_one_in_float32(tiny):
    p = probabilities(tiny, "openvino", "fp32")
    assert p.dtype == np.float32
    assert p.shape == (4, *tiny.window)
    assert p.sum(axis=0) == pytest.approx(1, abs=1e-4)


def test_a_second_start_reads_the_cache_and_a_damaged_one_is_made_again(tiny, tmp_path):
    first = probabilities(tiny, "openvino", "fp32", tmp_path)
    models = sorted(tmp_path.glob("*.xml"))
    assert len(models) == 2
    assert np.array_equal(probabilities(tiny, "openvino", "fp32", tmp_path), first)
    models[1].write_text("cut off")
    assert np.array_equal(probabilities(tiny, "openvino", "fp32", tmp_path), first)


def test_a_cache_that_cannot_be_written_does_not_stop_inference(tiny, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert probabilities(tiny, "openvino", "fp32", blocked / "cache").shape == (4, *tiny.window)


def test_weights_that_do_not_fit_the_network_are_named(tiny, tmp_path):
    wider = tiny.model_copy(update={"arguments": {"width": 3}})
    wider._folder = tiny.folder
    with pytest.raises(EngineError, match="bundle tiny cannot run with torch"):
        load_engine(wider, Choice("cpu", "torch", "fp32"), None)
