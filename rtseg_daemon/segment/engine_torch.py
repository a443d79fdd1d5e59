"""Members run by torch: the reference on a processor, the engine on a GPU."""

import contextlib

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.networks import build
from rtseg_daemon.segment.engine import Choice, named_failure
from rtseg_daemon.segment.volume import Array

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_member(bundle: Bundle, index: int) -> nn.Module:
    """Member `index` in float32 evaluation mode, weights from safetensors."""
    net = build(bundle.family, classes=len(bundle.classes) + 1, **bundle.arguments)
    net.load_state_dict({k: v.float() for k, v in load_file(bundle.member_path(bundle.members[index])).items()})
    return net.eval()


def cuda_devices() -> int:
    """Number of usable CUDA devices."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


class TorchEngine:
    """Keeps every member on the device; autocast gives 16 bit with float32 sums in the norms."""

    def __init__(self, bundle: Bundle, choice: Choice) -> None:
        self.device = torch.device(choice.device)
        self.dtype = DTYPES[choice.precision]
        self.description = f"torch {torch.__version__} {choice.precision} on {choice.device}"
        if choice.threads and self.device.type == "cpu":
            torch.set_num_threads(choice.threads)
        with named_failure(bundle, choice):
            self.members = [load_member(bundle, i).to(self.device) for i in range(len(bundle.members))]
        if self.device.type == "cuda":
            # one window shape for the engine's whole life: let cuDNN find its fastest kernels once
            torch.backends.cudnn.benchmark = True
            for net in self.members:
                net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's own gap

    @torch.inference_mode()
    def probabilities(self, member: int, window: Array) -> Array:
        """Class probabilities `(classes, z, y, x)` float32 of one window `(z, y, x)`."""
        image = torch.from_numpy(np.ascontiguousarray(window))[None, None]
        if self.device.type == "cuda":
            image = image.pin_memory().to(self.device, non_blocking=True)
        half = self.dtype is not torch.float32
        with torch.autocast(self.device.type, self.dtype) if half else contextlib.nullcontext():
            logits = self.members[member](image)
        return np.asarray(logits.float().softmax(1)[0].cpu().numpy())
