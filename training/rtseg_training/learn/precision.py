"""How a network is kept while it learns: products in bf16 where the hardware has them, and its layout in memory."""

import functools

import torch
from torch import nn

from rtseg_training.learn.recipe import Recipe


@functools.cache
def multiplies_bf16(device: torch.device) -> bool:
    """Whether `device` has bf16 products in hardware. Emulated ones take hundreds of times as long as float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # openvino: it knows the processor, and training on a card needs none
    from rtseg_daemon.segment.engines.openvino_engine import cpu_multiplies

    return bool(cpu_multiplies("bf16"))


def in_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether the recipe's products run in bf16 on `device`."""
    return recipe.precision == "bf16" and multiplies_bf16(device)


def layout_of(device: torch.device) -> torch.memory_format:
    """How the weights, and with them all activations, lie in memory: on a processor a voxel's channels side by side.

    Its convolutions read them together: a step takes 0.5 to 1.0 of the time (`bench/step.py`).
    """
    return torch.channels_last_3d if device.type == "cpu" else torch.preserve_format


def laid_out(net: nn.Module, device: torch.device, layout: torch.memory_format) -> nn.Module:
    """The network itself on `device`, in that layout."""
    return net.to(device, memory_format=layout)  # type: ignore[call-overload, no-any-return]
