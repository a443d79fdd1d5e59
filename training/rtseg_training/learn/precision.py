"""In which precision a network learns: bf16 where the hardware multiplies in it, float32 everywhere else."""

import functools

import torch

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
