"""Members run by OpenVINO, compiled once per shape and kept on disk. Several windows at work at once."""

import contextlib
import hashlib
import os
import shutil
import warnings
from collections import deque
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.segment.engines.engine import Choice, Work, named_failure
from rtseg_daemon.segment.engines.kept_models import drop_altered, note_digests
from rtseg_daemon.segment.engines.making import Workshop
from rtseg_daemon.segment.engines.openvino_library import ov

PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}

LIVE_LAYERS = 8
"""Working memory of one window, in outputs of the largest layer: 2.1 to 5.8 were measured over the families where the
model has one shape, 7.8 for sepnet where it takes any."""

MOST_STREAMS = 4


def cpu_multiplies(precision: str) -> bool:
    """Whether this processor has products of `precision` (fp32, bf16, fp16) in hardware."""
    return precision.upper() in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def cache_key(bundle: Bundle, member: int) -> str:
    """Names a converted member: another digest, library version or shape is another file."""
    shape = "any" if bundle.window_step else bundle.window
    text = f"{bundle.members[member].sha256} {ov.__version__} {shape} {bundle.family} {bundle.arguments}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def convert(bundle: Bundle, member: int) -> Any:
    """The member as an OpenVINO model, softmax included: of the window's shape, or of any where windows grow.

    A model of any shape makes its kernels when it first meets one (0.1 to 0.2 s at width 16) and keeps them. After that
    it is 4 % slower than a model of that shape alone.
    """
    # torch: only the first start converts, later ones read the cache
    import torch

    # torch, as above
    from rtseg_daemon.segment.engines.torch_engine import load_member

    net = torch.nn.Sequential(load_member(bundle, member), torch.nn.Softmax(dim=1))
    shape = [1, 1, *bundle.window]
    accepted = ov.PartialShape([1, 1, -1, -1, -1] if bundle.window_step else shape)
    with warnings.catch_warnings():
        # torch.export takes instance norm apart into nine operations, which run 1.4 times slower than the traced one
        warnings.simplefilter("ignore")
        with torch.inference_mode():
            traced = torch.jit.trace(net, torch.zeros(shape), check_trace=False)
        return ov.convert_model(traced, input=[(accepted, ov.Type.f32)])


class OpenVinoEngine:
    """One compiled model per member. The first start converts and compiles, later ones read the cache.

    Windows run side by side, each on its own share of the processor: two on one core each take a fifth less time than
    one after the other on both, where threads wait for each other after every layer. Where volumes go through whole,
    each member has one such share and members run side by side. Else windows of one member do.
    """

    def __init__(self, bundle: Bundle, choice: Choice, cache: Path | None) -> None:
        self.bundle = bundle
        self.on_card = False
        self.description = f"openvino {ov.__version__.split('-')[0]} {choice.precision} on cpu"
        self.streams = choice.plan.streams if choice.plan else 1
        self.resident = choice.plan is None or choice.plan.resident
        self.core = ov.Core()
        threads = choice.threads or processors()
        apart = choice.plan is not None and choice.plan.whole and len(bundle.members) > 1
        self.options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[choice.precision],
            "INFERENCE_NUM_THREADS": max(1, threads // self.streams) if apart else threads,
            "NUM_STREAMS": 1 if apart else self.streams,
            "ENABLE_CPU_PINNING": False,
        }
        self.cache = usable(cache)
        if self.cache is not None:
            self.core.set_property({"CACHE_DIR": str(self.cache)})
        kind = f"{bundle.family} {sorted(bundle.arguments.items())}"
        self.workshop = Workshop(self.cache, bundle.name, kind, len(bundle.members))
        with named_failure(bundle, choice), contextlib.closing(self.workshop):
            self.models = [self._ready(i) for i in range(len(bundle.members))]
            # one request more than there are streams: the next window waits ready while a result is being used
            self.requests = [[m.create_infer_request() for _ in range(self.streams + 1)] for m in self.models]
        if self.cache is not None:
            note_digests(self.cache)

    def _ready(self, member: int) -> Any:
        """The compiled member, from the cache or made now."""
        model = self._compiled(member)
        self.workshop.finished_one()
        return model

    def _compiled(self, member: int) -> Any:
        path = self.cache / f"{cache_key(self.bundle, member)}.xml" if self.cache else None
        if path is not None and path.is_file() and path.with_suffix(".bin").is_file():
            try:
                return self.core.compile_model(str(path), "CPU", self.options)
            except RuntimeError:
                path.unlink(missing_ok=True)  # written by a killed process; made again below
        self.workshop.begin()
        model = convert(self.bundle, member)
        if path is not None:
            save(model, path)
        return self.core.compile_model(model, "CPU", self.options)

    def placed(self, array: Array) -> Array:
        """The array itself: this engine works on the host."""
        return array

    def run(self, work: Iterable[Work]) -> Generator[Array, None, None]:
        """Class probabilities `(classes, z, y, x)` float32 of every window, in order. See `InferenceEngine.run`."""
        waiting: deque[tuple[int, Any]] = deque()
        try:
            for number, (member, window) in enumerate(work):
                if not self.resident:
                    self._release({member, *(other for other, _ in waiting)})
                request = self.requests[member][number % (self.streams + 1)]
                request.start_async([np.ascontiguousarray(window, np.float32)[None, None]], share_inputs=True)
                waiting.append((member, request))
                if len(waiting) > self.streams:
                    yield finished(waiting.popleft()[1])
            while waiting:
                yield finished(waiting.popleft()[1])
        finally:
            for _, request in waiting:
                request.wait()
            if not self.resident:
                self._release(set())

    def _release(self, busy: set[int]) -> None:
        """Give back the working memory of all members but those at work."""
        for member, model in enumerate(self.models):
            if member not in busy:
                model.release_memory()


def finished(request: Any) -> Array:
    """The answer of a request, once it is there."""
    request.wait()
    return np.asarray(request.get_output_tensor(0).data[0])


def streams_of(threads: int) -> int:
    """Windows at work at once on `threads` processors (0: all that there are)."""
    return min(MOST_STREAMS, threads or processors())


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def usable(cache: Path | None) -> Path | None:
    """The cache folder, made if need be, with nothing in it that was altered, or None where it cannot be written or the
    disk is nearly full."""
    if cache is None:
        return None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        probe = cache / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
        drop_altered(cache)
        return cache if shutil.disk_usage(cache).free > 200 * 2**20 else None
    except OSError:
        return None


def save(model: Any, path: Path) -> None:
    """Write the converted model. A full disk costs the next start a conversion, nothing else."""
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    try:
        ov.save_model(model, str(partial), compress_to_fp16=True)
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)
    except (OSError, RuntimeError):
        partial.unlink(missing_ok=True)
        partial.with_suffix(".bin").unlink(missing_ok=True)
