"""Members run by torch: the reference on a processor, the engine on a GPU."""

import contextlib
import itertools
import warnings
from collections.abc import Generator, Iterable

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.networks import build
from rtseg_daemon.segment.engine import Choice, Work, named_failure
from rtseg_daemon.segment.volume import Array, Shape

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


def largest_layer(bundle: Bundle, window: Shape) -> int:
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


class TorchEngine:
    """Keeps every member on the device; autocast gives 16 bit with float32 sums in the norms.

    Windows of one member go through it together, as many as the plan has streams; instance norm keeps them apart.
    """

    def __init__(self, bundle: Bundle, choice: Choice) -> None:
        self.device = torch.device(choice.device)
        self.dtype = DTYPES[choice.precision]
        self.description = f"torch {torch.__version__} {choice.precision} on {choice.device}"
        self.at_once = choice.plan.streams if choice.plan else 1
        if choice.threads and self.device.type == "cpu":
            torch.set_num_threads(choice.threads)
        with named_failure(bundle, choice):
            self.members = [load_member(bundle, i).to(self.device) for i in range(len(bundle.members))]
        if self.device.type == "cuda":
            # one window shape for the engine's whole life: let cuDNN find its fastest kernels once
            torch.backends.cudnn.benchmark = True
            for net in self.members:
                net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's own gap

    def run(self, work: Iterable[Work]) -> Generator[Array, None, None]:
        """Class probabilities `(classes, z, y, x)` float32 of every window, in order; see `Engine.run`."""
        for member, pieces in itertools.groupby(work, key=lambda piece: piece[0]):
            while windows := [window for _, window in itertools.islice(pieces, self.at_once)]:
                yield from self._answers(member, np.stack(windows))

    @torch.inference_mode()
    def _answers(self, member: int, windows: Array) -> Array:
        """`(windows, classes, z, y, x)` from windows `(windows, z, y, x)` of one member."""
        image = torch.from_numpy(np.ascontiguousarray(windows, np.float32))[:, None]
        if self.device.type == "cuda":
            image = image.pin_memory().to(self.device, non_blocking=True)
        half = self.dtype is not torch.float32
        with torch.autocast(self.device.type, self.dtype) if half else contextlib.nullcontext():
            logits = self.members[member](image)
        return np.asarray(logits.float().softmax(1).cpu().numpy())
