"""Members run by torch: the reference on a processor, the engine on a GPU."""

import itertools
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from rtseg_daemon.anatomy.volume import Array, Shape
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.networks import build
from rtseg_daemon.segment.engines.engine import Choice, Work, named_failure

Network = Callable[[torch.Tensor], torch.Tensor]

Probabilities = tuple[torch.Tensor, torch.cuda.Event | None]
"""Probabilities on the host, and what says that they have arrived there."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

LIVE_LAYERS = 14
"""Working memory of one window, in outputs of the largest layer: 12.9 were measured for sepnet on a processor."""

MOST_AT_ONCE = 4


def load_member(bundle: Bundle, index: int) -> nn.Module:
    """Member `index` in float32 evaluation mode, weights from safetensors."""
    net = build(bundle.family, classes=len(bundle.classes) + 1, **bundle.arguments)
    net.load_state_dict({k: v.float() for k, v in load_file(bundle.member_path(bundle.members[index])).items()})
    return net.eval()


def cuda_devices() -> tuple[int, str]:
    """Number of usable CUDA devices, and where there is none what torch says of it (an old driver, for example)."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    first = str(told[0].message).strip().splitlines()[0] if told and not count else ""
    return count, first


def free_bytes(device: str) -> int:
    """Free memory of a CUDA device."""
    return int(torch.cuda.mem_get_info(device)[0])


def count_largest_layer(bundle: Bundle, window: Shape) -> int:
    """Values in the largest output of any layer for one `window`; nothing is computed, torch only counts."""
    with torch.device("meta"):
        net = build(bundle.family, classes=len(bundle.classes) + 1, **bundle.arguments).eval()
        sizes = [len(bundle.classes) + 1]

        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            sizes.append(output.numel() if isinstance(output, torch.Tensor) else 0)

        for module in net.modules():
            module.register_forward_hook(note)
        with torch.inference_mode():
            net(torch.zeros(1, 1, *window))
    return max(sizes)


class RecordedNetwork:
    """A network whose kernels are recorded as a CUDA graph at each new shape of its input, and replayed from then on.

    A small network is over on a large GPU before the processor has launched its next kernel; a replay is one launch.
    """

    def __init__(self, net: Network, pool: Any) -> None:
        self.net = net
        self.pool = pool  # one after the other, all recordings of an engine can work in the same memory
        self.graphs: dict[torch.Size, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]] = {}

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape not in self.graphs:
            self.graphs[image.shape] = self._record(image.clone())
        graph, read, written = self.graphs[image.shape]
        read.copy_(image)
        graph.replay()
        return written.clone()  # the next replay writes to the same place

    def _record(self, image: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]:
        """The graph, and where it reads and writes; libraries choose their kernels before the recording begins."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.net(image)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            written = self.net(image)
        return graph, image, written


class TorchEngine:
    """Keeps every member on the device; autocast gives 16 bit with float32 sums in the norms.

    Windows of one member go through it together, as many as the plan has streams; instance norm keeps them apart.
    A GPU works on the next windows while the last ones' probabilities are on their way to the host and in use there.
    """

    def __init__(self, bundle: Bundle, choice: Choice) -> None:
        self.device = torch.device(choice.device)
        self.dtype = DTYPES[choice.precision]
        self.description = f"torch {torch.__version__} {choice.precision} on {choice.device}"
        self.at_once = choice.plan.streams if choice.plan else 1
        if choice.threads and self.device.type == "cpu":
            torch.set_num_threads(choice.threads)
        with named_failure(bundle, choice):
            nets = [load_member(bundle, i).to(self.device) for i in range(len(bundle.members))]
        self.ahead, self.pool = 0, None
        if self.device.type == "cuda":
            self.ahead, self.pool = 1, torch.cuda.graph_pool_handle()
            # one window shape for the engine's whole life, or few: let cuDNN find its fastest kernels once for each
            torch.backends.cudnn.benchmark = True
            for net in nets:
                net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's own gap
        self.members = [self._network(net) for net in nets]

    def run(self, work: Iterable[Work]) -> Generator[Array, None, None]:
        """Class probabilities `(classes, z, y, x)` float32 of every window, in order; see `InferenceEngine.run`."""
        waiting: deque[Probabilities] = deque()
        for member, pieces in itertools.groupby(work, key=lambda piece: piece[0]):
            while windows := [window for _, window in itertools.islice(pieces, self.at_once)]:
                waiting.append(self._start(member, np.stack(windows)))
                if len(waiting) > self.ahead:
                    yield from finished(waiting.popleft())
        while waiting:
            yield from finished(waiting.popleft())

    def _network(self, net: nn.Module) -> Network:
        """What turns images `(windows, 1, z, y, x)` into probabilities `(windows, classes, z, y, x)` float32."""
        half = self.dtype is not torch.float32

        def probabilities(image: torch.Tensor) -> torch.Tensor:
            # a cache of cast weights would be freed behind a recorded graph's back
            autocast = torch.autocast(self.device.type, self.dtype, enabled=half, cache_enabled=False)
            with torch.inference_mode(), autocast:
                logits: torch.Tensor = net(image)
            return logits.float().softmax(1)

        return RecordedNetwork(probabilities, self.pool) if self.device.type == "cuda" else probabilities

    @torch.inference_mode()
    def _start(self, member: int, windows: Array) -> Probabilities:
        """Begin on windows `(windows, z, y, x)` of one member; on a processor this is also the end."""
        image = torch.from_numpy(np.ascontiguousarray(windows, np.float32))[:, None]
        if self.device.type != "cuda":
            return self.members[member](image), None
        p = self.members[member](image.pin_memory().to(self.device, non_blocking=True))
        host = torch.empty(p.shape, pin_memory=True)
        host.copy_(p, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return host, arrived


def finished(answer: Probabilities) -> Array:
    """The answer's probabilities, once they are there."""
    p, arrived = answer
    if arrived is not None:
        arrived.synchronize()
    return np.asarray(p.numpy())
