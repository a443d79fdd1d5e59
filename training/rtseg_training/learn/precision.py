"""How a network is kept while it learns: products in bf16 where the hardware has them, and its layout in memory."""

import functools

import torch
from torch import nn

from rtseg_training.learn.recipe import Recipe

CHANNELS_LAST = ("sepnet", "unet3d", "anatomynet")
"""Families whose step a processor does in 0.5 to 0.9 of the time where a voxel's channels lie side by side. That of
FocusNet takes 1.15 to 1.2 times as long, the 2.5D network's as long as before (`bench/step.py`)."""


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


def layout_of(recipe: Recipe, device: torch.device) -> torch.memory_format:
    """How the weights, and with them all activations, lie in memory: voxel by voxel, or as torch has them."""
    return torch.channels_last_3d if device.type == "cpu" and recipe.family in CHANNELS_LAST else torch.preserve_format


def laid_out(net: nn.Module, device: torch.device, layout: torch.memory_format) -> nn.Module:
    """The network itself on `device`, in that layout."""
    return net.to(device, memory_format=layout)  # type: ignore[call-overload, no-any-return]
