"""Members run by torch: the reference on a processor, the engine on a card."""

import itertools
import warnings
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from rtseg_daemon.anatomy.arrays import Values
from rtseg_daemon.anatomy.volume import Array, Shape
from rtseg_daemon.networks import build
from rtseg_daemon.segment.engines.engine import Choice, Work, named_failure
from rtseg_daemon.segment.engines.forms import form_of
from rtseg_daemon.segment.engines.recorded import Network, RecordedNetwork

if TYPE_CHECKING:  # a network can be timed without what bundles are read with
    from rtseg_daemon.bundles import Bundle

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

LIVE_LAYERS = 14
"""Working memory of one window, in outputs of the largest layer: 12.9 were measured for sepnet on a processor."""

CARD_LIVE_LAYERS = {"sepnet": 8}
"""The same for families with a form for a card, what follows the network included: 5.3 were measured for sepnet
(`bench/gpu.py`, four windows of 64 x 128 x 128 at width 48 on an H100)."""

MOST_AT_ONCE = 4


def load_member(bundle: "Bundle", index: int) -> nn.Module:
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


def free_bytes(device: str, share: int = 1) -> int:
    """Memory of a CUDA device that this process may still take, where `share` workers share the card.

    A limit that was set for this process (`torch.cuda.set_per_process_memory_fraction`) counts too.
    """
    index = torch.device(device).index or 0
    free, total = torch.cuda.mem_get_info(index)
    allowed = total * min(1 / share, torch.cuda.get_per_process_memory_fraction(index))
    return max(0, min(int(free), int(allowed) - torch.cuda.memory_reserved(index)))


def live_layers(family: str, on_cpu: bool) -> int:
    """Working memory of one window of a network of `family`, in outputs of its largest layer."""
    return LIVE_LAYERS if on_cpu else CARD_LIVE_LAYERS.get(family, LIVE_LAYERS)


def count_largest_layer(bundle: "Bundle", window: Shape) -> int:
    """Values in the largest output of any layer for one `window`. Nothing is computed, torch only counts."""
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


class TorchEngine:
    """Keeps every member on the device, and there what they say: only what is asked for comes to the host.

    On a card a member takes the form that its family has for it (`forms`). Elsewhere autocast gives 16 bit with float32
    sums in the norms. Windows of one member go through it together, as many as the plan has streams. Instance norm
    keeps them apart. `trouble` tells why a card's own form cannot be used, where it cannot.
    """

    def __init__(self, bundle: "Bundle", choice: Choice) -> None:
        self.device = torch.device(choice.device)
        self.dtype = DTYPES[choice.precision]
        self.description = f"torch {torch.__version__} {choice.precision} on {choice.device}"
        self.at_once = choice.plan.streams if choice.plan else 1
        if choice.threads and self.device.type == "cpu":
            torch.set_num_threads(choice.threads)
        self.trouble = ""
        self.on_card = self.device.type == "cuda"
        self.pool = None
        if self.device.type == "cuda":
            self.pool = torch.cuda.graph_pool_handle()
            # few window shapes in the engine's whole life: cuDNN tries its kernels once for each
            torch.backends.cudnn.benchmark = True
        with named_failure(bundle, choice):
            nets = [load_member(bundle, i).requires_grad_(False).to(self.device) for i in range(len(bundle.members))]
            self.members: list[Network] = []
            for net in nets:
                self.members.append(self._network(net))

    def placed(self, array: Array) -> Values:
        """`array` as a tensor on this engine's card. On a processor the array itself."""
        if self.device.type == "cpu":
            return array
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def run(self, work: Iterable[Work]) -> Generator[Values, None, None]:
        """Class probabilities `(classes, z, y, x)` float32 of every window, in order. See `InferenceEngine.run`."""
        for member, pieces in itertools.groupby(work, key=lambda piece: piece[0]):
            while windows := [window for _, window in itertools.islice(pieces, self.at_once)]:
                if self.device.type == "cpu":
                    image = torch.from_numpy(np.stack(windows).astype(np.float32, copy=False))
                    yield from self.members[member](image[:, None]).numpy()
                else:
                    answers = self.members[member](torch.stack(windows)[:, None])
                    # one by one: to iterate over a tensor imports torch's compiler, which takes a second
                    for number in range(len(windows)):
                        yield answers[number]

    def _network(self, net: nn.Module) -> Network:
        """What turns images `(windows, 1, z, y, x)` into probabilities `(windows, classes, z, y, x)`, both float32."""
        form, trouble = None, self.trouble
        if self.on_card and not trouble:
            form, self.trouble = form_of(net, self.dtype, tried=bool(self.members))
        half = self.dtype is not torch.float32

        def in_its_form(image: torch.Tensor) -> torch.Tensor:
            assert form is not None
            with torch.no_grad():
                logits: torch.Tensor = form(image.to(self.dtype))
                return logits.float().softmax(1)

        def as_it_is(image: torch.Tensor) -> torch.Tensor:
            # a cache of cast weights would be freed behind a recorded graph's back
            autocast = torch.autocast(self.device.type, self.dtype, enabled=half, cache_enabled=False)
            with torch.no_grad(), autocast:
                logits: torch.Tensor = net(image)
            return logits.float().softmax(1)

        network = as_it_is if form is None else in_its_form
        return RecordedNetwork(network, self.pool) if self.device.type == "cuda" else network
