"""Every engine gives torch fp32's answer; what is not there is named."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import ConfigError, EngineError
from rtseg_daemon.segment.engines import openvino_engine, start, torch_engine
from rtseg_daemon.segment.engines.engine import Choice, choose
from rtseg_daemon.segment.engines.memory import MemoryPlan
from rtseg_daemon.segment.engines.start import choice_for, load_engine, plan_for, start_engine
from tests.tiny import make_bundle


@pytest.mark.parametrize(
    ("asked", "cuda", "got"),
    [
        (("auto", "auto", "auto"), 0, ("cpu", "openvino", "bf16")),
        (("auto", "auto", "auto"), 2, ("cuda", "torch", "fp16")),
        (("cpu", "auto", "auto"), 2, ("cpu", "openvino", "bf16")),
        (("cuda:1", "auto", "bf16"), 2, ("cuda:1", "torch", "bf16")),
        (("auto", "torch", "fp32"), 0, ("cpu", "torch", "fp32")),
    ],
)
def test_what_auto_means(asked, cuda, got):
    choice = choose(*asked, 0, cuda)
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
    with pytest.raises(EngineError, match=message) as told:
        choose(*asked, 0, cuda)
    assert isinstance(told.value, ConfigError), "the command line ends with exit status 2"


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize("asked", ["bf16", "fp16", "auto"])
def test_a_processor_without_16_bit_goes_on_in_fp32_and_says_so_where_they_were_asked_for(
    backend, asked, monkeypatch, capfd
):
    monkeypatch.setattr(openvino_engine, "cpu_multiplies", lambda precision: False)
    choice = choice_for(Compute(device="cpu", backend=backend, precision=asked))
    told = capfd.readouterr()
    assert choice.precision == "fp32"
    assert ("going on in fp32" in told.out + told.err) == (asked != "auto")


def test_a_processor_with_bf16_uses_it(monkeypatch):
    monkeypatch.setattr(openvino_engine, "cpu_multiplies", lambda precision: precision == "bf16")
    assert choice_for(Compute(device="cpu")).precision == "bf16"


OLD = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."


def test_an_old_driver_is_named_where_a_gpu_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch_engine, "cuda_devices", lambda: (0, OLD))
    with pytest.raises(EngineError, match=r"driver on your system is too old.*set compute.device: auto or cpu"):
        choice_for(Compute(device="cuda"))


def test_an_old_driver_is_told_in_one_sentence_where_the_cpu_may_do(monkeypatch, capsys):
    def available():
        warnings.warn(OLD, stacklevel=1)
        return False

    monkeypatch.setattr(start, "GPU_NODES", ("/",))
    monkeypatch.setattr(torch_engine.torch.cuda, "is_available", available)
    assert choice_for(Compute(precision="fp32")).device == "cpu"
    told = capsys.readouterr()
    assert "going on with the CPU" in told.out + told.err
    assert "too old" in told.out + told.err


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    make_bundle(models)
    return load_bundle(models, "tiny")


def window(bundle):
    return np.random.default_rng(0).uniform(0, 1, bundle.window).astype(np.float32)


def answers(engine, work):
    """Copies of what an engine says; an answer holds only until the next."""
    return [p.copy() for p in engine.run(iter(work))]


def probabilities(bundle, backend, precision, cache=None):
    return answers(load_engine(bundle, Choice("cpu", backend, precision, 1), cache), [(1, window(bundle))])[0]


def pieces(bundle):
    """Two windows for each member, all different."""
    rng = np.random.default_rng(1)
    return [(m, rng.uniform(0, 1, bundle.window).astype(np.float32)) for m in (0, 0, 0, 1, 1)]


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize("resident", [True, False])
def test_windows_at_work_at_once_answer_as_one_after_the_other_and_in_order(tiny, backend, resident):
    work = pieces(tiny)
    alone = [answers(load_engine(tiny, Choice("cpu", "torch", "fp32", 1), None), [piece])[0] for piece in work]
    plan = MemoryPlan(tiny.window, 2, resident)
    engine = load_engine(tiny, Choice("cpu", backend, "fp32", 2, plan), None)
    for _ in range(2):
        for ours, theirs in zip(answers(engine, work), alone, strict=True):
            assert ours == pytest.approx(theirs, abs=2e-3)


def test_work_that_is_given_up_half_way_leaves_the_engine_usable(tiny):
    work = pieces(tiny)
    engine = load_engine(tiny, Choice("cpu", "openvino", "fp32", 2, MemoryPlan(tiny.window, 2, True)), None)
    whole = answers(engine, work)
    begun = engine.run(iter(work))
    next(begun)
    begun.close()
    assert all(np.array_equal(a, b) for a, b in zip(answers(engine, work), whole, strict=True))


def test_a_bundle_keeps_its_window_where_memory_suffices(tiny):
    plan = plan_for(tiny, Choice("cpu", "openvino", "bf16", 2))
    assert plan == MemoryPlan(tiny.window, 2, True)


@pytest.fixture
def growing(tiny):
    """A bundle that takes volumes in one piece."""
    return tiny.model_copy(update={"window_step": (8, 8, 8)})


def test_a_bundle_of_whole_volumes_takes_them_whole_where_memory_suffices(growing):
    plan = plan_for(growing, Choice("cpu", "openvino", "bf16", 2))
    assert plan == MemoryPlan(growing.window, 2, True, whole=True)
    assert growing.extent == (80, 38, 31)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_whole_volumes_of_several_shapes_answer_as_torch_does(growing, backend):
    rng = np.random.default_rng(2)
    shapes = [(16, 24, 24), (80, 40, 32), (24, 32, 24), (16, 24, 24)]
    work = [(m, rng.uniform(0, 1, shape).astype(np.float32)) for shape in shapes for m in (0, 1)]
    fitted, engine = start_engine(growing, Compute(device="cpu", backend=backend, precision="fp32"), None)
    assert fitted.window_step == (8, 8, 8)
    for (member, image), p in zip(work, answers(engine, work), strict=True):
        with torch.inference_mode():
            net = torch_engine.load_member(growing, member)
            expected = net(torch.from_numpy(image)[None, None]).softmax(1)[0].numpy()
        assert p == pytest.approx(expected, abs=5e-3)


def test_where_memory_is_short_whole_volumes_go_in_windows_of_training_and_this_is_said(growing, monkeypatch, capsys):
    monkeypatch.setattr(start, "available_bytes", lambda: 4 * 2**20)
    fitted, engine = start_engine(growing, Compute(device="cpu", backend="torch", precision="fp32"), None)
    assert (fitted.window, fitted.window_step) == (growing.window, None)
    told = capsys.readouterr()
    assert "in windows of training" in told.out + told.err
    assert answers(engine, [(0, window(fitted))])[0].shape == (4, *growing.window)


def test_where_memory_is_short_the_engine_takes_smaller_windows_than_those_of_training(tiny, monkeypatch):
    large = tiny.model_copy(update={"window": (64, 48, 48)})
    monkeypatch.setattr(start, "available_bytes", lambda: 4 * 2**20)
    fitted, engine = start_engine(large, Compute(device="cpu", backend="torch", precision="fp32"), None)
    assert fitted.window == (32, 48, 48)
    assert fitted.digest == tiny.digest
    assert answers(engine, [(0, window(fitted))])[0].shape == (4, 32, 48, 48)


def test_counting_layers_needs_no_memory(tiny):
    assert torch_engine.count_largest_layer(tiny, (16, 24, 24)) == 4 * 16 * 24 * 24
    assert torch_engine.count_largest_layer(tiny, (8000, 8000, 8000)) == 4 * 8000**3


def broken(*_arguments):
    raise RuntimeError("no converter for this operation")


def test_a_network_that_openvino_cannot_compile_is_run_by_torch_and_this_is_said(tiny, monkeypatch, capsys):
    monkeypatch.setattr(openvino_engine, "convert", broken)
    _, engine = start_engine(tiny, Compute(device="cpu", precision="fp32"), None)
    assert engine.description.startswith("torch")
    told = capsys.readouterr()
    assert "going on with torch" in told.out + told.err
    assert "no converter for this operation" in told.out + told.err


def test_a_network_that_openvino_cannot_compile_is_an_error_where_openvino_was_asked_for(tiny, monkeypatch):
    monkeypatch.setattr(openvino_engine, "convert", broken)
    with pytest.raises(EngineError, match="cannot run with openvino fp32 on cpu: no converter"):
        start_engine(tiny, Compute(device="cpu", backend="openvino", precision="fp32"), None)


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


def test_weights_that_were_altered_in_the_cache_are_not_used(tiny, tmp_path):
    first = probabilities(tiny, "openvino", "fp32", tmp_path)
    listed = (tmp_path / "digests.json").read_text()
    kept = sorted(path for path in tmp_path.iterdir() if path.suffix in (".bin", ".blob"))
    assert {path.suffix for path in kept} == {".bin", ".blob"}
    for path in kept:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x40
        path.chmod(0o600)
        path.write_bytes(content)
    (tmp_path / "unknown.blob").write_bytes(b"half of something")
    assert np.array_equal(probabilities(tiny, "openvino", "fp32", tmp_path), first)
    assert not (tmp_path / "unknown.blob").exists()
    assert json.loads((tmp_path / "digests.json").read_text()).keys() == json.loads(listed).keys()


def test_a_cache_of_another_version_is_left_alone_and_made_again(tiny, tmp_path, monkeypatch):
    first = probabilities(tiny, "openvino", "fp32", tmp_path)
    old = set(tmp_path.glob("*.xml"))
    for path in old:
        path.write_text("what another version wrote")
    monkeypatch.setattr(openvino_engine.ov, "__version__", "2099.1.0")
    assert np.array_equal(probabilities(tiny, "openvino", "fp32", tmp_path), first)
    assert len(set(tmp_path.glob("*.xml")) - old) == 2


WARM = """
import sys
from pathlib import Path
import numpy as np
from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.segment.engines.start import start_engine
from rtseg_daemon.config.sections import Compute

bundle, engine = start_engine(load_bundle(Path(sys.argv[1]), "tiny"), Compute(precision="fp32"), Path(sys.argv[2]))
print(next(engine.run(iter([(0, np.zeros(bundle.window, np.float32))]))).shape, "torch" in sys.modules)
"""


@pytest.mark.skipif(start.has_gpu(), reason="torch is asked about the GPU")
@pytest.mark.parametrize("damage", [None, "[1, 2]", "{"])
def test_a_warm_start_spends_no_time_on_importing_torch(tiny, tmp_path, damage):
    program, cache = tmp_path / "warm.py", tmp_path / "cache"
    program.write_text(WARM)
    start_engine(tiny, Compute(precision="fp32"), cache)
    if damage:
        (cache / "layers.json").write_text(damage)
    command = [sys.executable, str(program), str(tiny.folder.parent), str(cache)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split()
    assert said[-5:] == ["(4,", "16,", "24,", "24)", str(damage is not None)]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.segment.engines.engine import Choice
from rtseg_daemon.segment.engines.start import load_engine

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
bundle = load_bundle(Path(sys.argv[1]), "tiny")
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
engine = load_engine(bundle, Choice("cpu", "openvino", "fp32", 1), Path(sys.argv[2]))
print(next(engine.run(iter([(0, np.zeros(bundle.window, np.float32))]))).shape)
"""


def test_a_disk_that_is_full_while_caching_does_not_stop_inference(tiny, tmp_path):
    program = tmp_path / "full.py"
    program.write_text(FULL_DISK)
    cache = tmp_path / "cache"
    command = [sys.executable, str(program), str(tiny.folder.parent), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["(4,", "16,", "24,", "24)"]), done.stderr
    assert not list(cache.glob("*.xml")), "half a file is worth nothing"


def test_a_cache_that_cannot_be_written_does_not_stop_inference(tiny, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert probabilities(tiny, "openvino", "fp32", blocked / "cache").shape == (4, *tiny.window)


def test_weights_that_do_not_fit_the_network_are_named(tiny, tmp_path):
    wider = tiny.model_copy(update={"arguments": {"width": 3}})
    wider._folder = tiny.folder
    with pytest.raises(EngineError, match="bundle tiny cannot run with torch"):
        load_engine(wider, Choice("cpu", "torch", "fp32"), None)
