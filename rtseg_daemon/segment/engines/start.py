"""Which engine configuration and machine mean, and its start. A backend is imported only where it is used.

Torch above all: its import takes longer than a case, and nothing needs it where OpenVINO has its converted models.
"""

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path

from rtseg_daemon.anatomy.volume import Shape
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import EngineError
from rtseg_daemon.logs import log
from rtseg_daemon.segment.engines.engine import Choice, InferenceEngine, choose, named_failure
from rtseg_daemon.segment.engines.kept_models import kept_kernels
from rtseg_daemon.segment.engines.memory import MemoryPlan, available_bytes, divisor_of, fitted, out_of_memory, plan
from rtseg_daemon.segment.infer import window_for

GPU_NODES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def choice_for(compute: Compute) -> Choice:
    """The engine that the configuration means on this machine. Raises DeviceError where there is none.

    A processor without products of 16 bit works in float32 where they are asked for: torch's emulation is hundreds of
    times slower.
    """
    cuda, trouble = 0, ""
    if compute.device.startswith("cuda") or (compute.device == "auto" and has_gpu()):
        # torch: needed only where there may be a GPU
        from rtseg_daemon.segment.engines.torch_engine import cuda_devices

        cuda, trouble = cuda_devices()
    choice = choose(compute.device, compute.backend, compute.precision, compute.threads, cuda, trouble)
    if trouble:
        log().warning("no GPU is usable; going on with the CPU", reason=trouble)
    if choice.device == "cpu":
        return on_this_processor(choice, compute.precision)
    return replace(choice, share=max(1, compute.devices.count(compute.device)))


def on_this_processor(choice: Choice, asked: str) -> Choice:
    """`choice`, in float32 where this processor has no products of its precision. Told where it was asked for."""
    # openvino: a GPU's worker needs none
    from rtseg_daemon.segment.engines.openvino_engine import cpu_multiplies

    if choice.precision == "fp32" or cpu_multiplies(choice.precision):
        return choice
    if asked != "auto":
        log().warning("this processor does not multiply in the precision asked for; going on in fp32", asked=asked)
    return replace(choice, precision="fp32")


def start_engine(bundle: Bundle, compute: Compute, cache: Path | None) -> tuple[Bundle, InferenceEngine]:
    """The engine that `compute` asks for, and the bundle with the window in which memory lets it run.

    Where `compute.backend` is auto, a network that OpenVINO cannot run is run by torch. Raises DeviceError where the
    machine lacks what the configuration names, EngineError where no backend runs the network.
    """
    choice = choice_for(compute)
    try:
        return load_planned(bundle, choice, cache)
    except EngineError as error:
        if choice.backend != "openvino" or compute.backend != "auto" or out_of_memory(error):
            raise
        log().warning("OpenVINO cannot run a bundle; going on with torch", bundle=bundle.name, reason=str(error))
        return load_planned(bundle, replace(choice, backend="torch"), cache)


def load_planned(bundle: Bundle, choice: Choice, cache: Path | None) -> tuple[Bundle, InferenceEngine]:
    """The engine of `choice` within the memory that is there, and the bundle with the window this leaves it."""
    with named_failure(bundle, choice):
        choice = replace(choice, plan=plan_for(bundle, choice, cache))
    assert choice.plan is not None
    if bundle.window_step is not None and not choice.plan.whole:
        log().warning("memory is short; volumes go in windows of training instead of in one piece", bundle=bundle.name)
    bundle = fitted(bundle, choice.plan)
    return bundle, load_engine(bundle, choice, cache)


def plan_for(bundle: Bundle, choice: Choice, cache: Path | None = None) -> MemoryPlan:
    """Window and streams for a bundle within the memory that the device has left."""
    if choice.backend == "openvino":
        # openvino: one backend alone is imported
        from rtseg_daemon.segment.engines import openvino_engine

        live, streams = openvino_engine.LIVE_LAYERS, openvino_engine.streams_of(choice.threads)
        available = available_bytes()
    else:
        # torch: one backend alone is imported
        from rtseg_daemon.segment.engines import torch_engine

        on_cpu = choice.device == "cpu"
        live = torch_engine.live_layers(bundle.family, on_cpu)
        streams = 1 if on_cpu else torch_engine.MOST_AT_ONCE
        available = available_bytes() if on_cpu else torch_engine.free_bytes(choice.device, choice.share)
    size = 4 if choice.precision == "fp32" else 2

    def need(window: Shape) -> int:
        values = (len(bundle.classes) + 2) * window[0] * window[1] * window[2]
        return live * size * largest_layer(bundle, window, cache) + 4 * values

    # torch hands working memory from member to member by itself: members count once
    members = len(bundle.members) if choice.backend == "openvino" else 1
    whole = window_for(bundle.extent, bundle.window, bundle.window_step) if bundle.window_step else None
    return plan(bundle.window, divisor_of(bundle), members, streams, need, available, whole)


def largest_layer(bundle: Bundle, window: Shape, cache: Path | None) -> int:
    """Values in the largest output of any layer for one `window`. What was once counted is kept under `cache`."""
    key = f"{bundle.family} {sorted(bundle.arguments.items())} {len(bundle.classes)} {window}"
    path = cache / "layers.json" if cache else None
    known: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(path.read_text())) if path else {}
    if key not in known:
        # torch: what was once counted is read from the cache
        from rtseg_daemon.segment.engines.torch_engine import count_largest_layer

        known[key] = count_largest_layer(bundle, window)
        with contextlib.suppress(OSError):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f"partial-{os.getpid()}-layers.json")
                partial.write_text(json.dumps(known))
                partial.replace(path)
    return int(known[key])


def has_gpu() -> bool:
    """Whether the kernel shows a graphics processor that torch could use (NVIDIA, NVIDIA under Windows, AMD)."""
    return any(Path(node).exists() for node in GPU_NODES)


def load_engine(bundle: Bundle, choice: Choice, cache: Path | None) -> InferenceEngine:
    """Start the engine of `choice`. Compiled models are kept under `cache`.

    Raises EngineError if this backend cannot run the bundle's network.
    """
    if choice.backend == "openvino":
        # openvino: one backend alone is imported
        from rtseg_daemon.segment.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(bundle, choice, cache)
    # torch: one backend alone is imported
    from rtseg_daemon.segment.engines.torch_engine import TorchEngine

    with kept_kernels(cache if choice.device != "cpu" else None):
        engine = TorchEngine(bundle, choice)
    if engine.trouble:
        log().warning(
            "a card's kernels cannot be used; going on without them", bundle=bundle.name, reason=engine.trouble
        )
    return engine
