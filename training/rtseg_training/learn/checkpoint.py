"""Checkpoints as safetensors: weights, their moving average and the optimizer's state. Nothing is ever unpickled."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rtseg_training.errors import CheckpointError


def save_checkpoint(
    path: Path,
    net: nn.Module,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer | None,
    meta: dict[str, Any],
) -> None:
    """Write `path` whole or not at all. A full disk leaves the last good checkpoint as it was.

    Without an optimizer it holds weights that can be used, and no run goes on from it.
    """
    tensors = {f"net.{k}": v.detach().contiguous() for k, v in net.state_dict().items()}
    tensors |= {f"ema.{k}": v.contiguous() for k, v in average.items()}
    for index, state in (optimizer.state_dict()["state"] if optimizer else {}).items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value.contiguous()
    partial = path.with_suffix(".partial")
    try:
        save_file(tensors, str(partial), metadata={"meta": json.dumps(meta)})
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path}: cannot be saved ({error}); the last checkpoint is kept: free disk space, then run the same "
            "command to go on"
        ) from error
    partial.replace(path)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors and the meta data. Raises CheckpointError if the file is damaged or foreign."""
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = json.loads((file.metadata() or {})["meta"])
            return {key: file.get_tensor(key) for key in file.keys()}, meta  # noqa: SIM118 (no iteration over the file)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or is no checkpoint of this trainer") from error


def read_meta(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, without its tensors. Raises CheckpointError as `read_checkpoint` does."""
    try:
        with safe_open(str(path), framework="pt") as file:
            meta: dict[str, Any] = json.loads((file.metadata() or {})["meta"])
            return meta
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or is no checkpoint of this trainer") from error


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix.`, without the prefix."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Weights to start from, float32: a checkpoint's moving average, or a bundle's member as it is.

    Raises CheckpointError if the file is damaged.
    """
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is missing or damaged; no member can start from it") from error
    return {key: value.float() for key, value in (part(tensors, "ema") or tensors).items()}


def load_into(path: Path, net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load weights. Raises CheckpointError naming the first parameter that does not fit."""
    own = net.state_dict()
    for key in sorted(own.keys() ^ tensors.keys()):
        raise CheckpointError(f"{path}: weights of another network (parameter {key})")
    for key, value in tensors.items():
        if own[key].shape != value.shape:
            raise CheckpointError(
                f"{path}: parameter {key} has shape {tuple(value.shape)}, not {tuple(own[key].shape)}"
            )
    net.load_state_dict(tensors)


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the saved state (moments, step counts) back into a fresh optimizer of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    fresh = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": fresh["param_groups"]})
